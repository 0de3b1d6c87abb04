"""A text as words and what stands between them; joined again, it is the same text to the character."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from unicodedata import category

# Scripts written without spaces: first and last code point.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x30FF),  # Japanese syllables
    (0x3400, 0x4DBF),  # Chinese characters, here and below
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
SPACES_OR_NOT = re.compile(r"\s+|\S+")


@dataclass(frozen=True, slots=True)
class Words:
    """The parts of a text in their order, and which of them are words."""

    parts: tuple[str, ...]
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> str:
        return self.parts[self.places[index]]


def split(text: str) -> Words:
    """The words of a text: between spaces, or single characters where its script has no spaces.

    The text as a whole decides: characters where they make up at least half of its letters. There a foreign
    word or a number is still one word. Punctuation around a word is no part of it; within a word it is.

    Args:
        text: Any text. One of punctuation and spaces alone has no words.
    """
    by_character = not text.isascii() and _is_unspaced(text)
    parts: list[str] = []
    places: list[int] = []
    for chunk in _by_character().findall(text) if by_character else SPACES_OR_NOT.findall(text):
        if chunk.isalnum():
            places.append(len(parts))
            parts.append(chunk)
            continue
        before, word, after = peel(chunk)
        if word:
            places.append(len(parts) + bool(before))
        parts += [part for part in (before, word, after) if part]
    return Words(tuple(parts), tuple(places))


@lru_cache(maxsize=1 << 16)
def peel(chunk: str) -> tuple[str, str, str]:
    """The punctuation before a word, the word, and the punctuation after it; any of them may be empty."""
    inside = [place for place, character in enumerate(chunk) if category(character)[0] in "LNM"]
    if not inside:
        return chunk, "", ""
    start, end = inside[0], inside[-1] + 1
    return chunk[:start], chunk[start:end], chunk[end:]


def _is_unspaced(text: str) -> bool:
    letters = sum(category(character)[0] == "L" for character in text)
    return 2 * len(_unspaced().findall(text)) >= letters > 0


@cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{_scripts()}]")


@cache
def _by_character() -> re.Pattern[str]:
    # A vowel sign or a tone mark stays with its letter.
    codes = (code for start, end in UNSPACED for code in range(start, end + 1))
    marks = "".join(chr(code) for code in codes if category(chr(code))[0] == "M")
    return re.compile(rf"[{_scripts()}][{marks}]*|\s+|[^\s{_scripts()}]+")


def _scripts() -> str:
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in UNSPACED)
