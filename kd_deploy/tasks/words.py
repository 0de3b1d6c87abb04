"""The words of a text as its tokens show them, whatever a tokenizer itself calls a word."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_deploy.tasks.encoding import Places

# Scripts that put no space between words: Thai to Burmese, Khmer, kana, Chinese characters.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
MARKS = ("P", "S")  # the categories of punctuation and of symbols


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text that show something, [K]: their rows among all of its piece, and their characters.

    `begins`: here begins a word. That is one of the tokenizer; but some call a sentence one, or a name and the full
    stop behind it: so a word ends before white space, and before and behind punctuation, and in scripts without
    spaces each token is one.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    begins: NDArray[np.bool_]

    def within(self, first: float, last: float) -> "Tokens":
        """Those that start from character `first` up to `last`."""
        kept = (self.starts >= first) & (self.starts < last)
        return Tokens(self.rows[kept], self.starts[kept], self.ends[kept], self.begins[kept])


def tokens_of(text: str, places: Places, *, start: int = 0) -> Tokens:
    """The tokens of a text without special ones, and without the spaces around what they show.

    Args:
        text: What was read, or a piece of it.
        places: Where its tokens stand.
        start: Where the piece begins in the whole text: there begin the characters that are given back, too.
    """
    found = []
    for row, (first, last) in enumerate(places.characters):
        shown = text[first:last].strip()
        if shown and places.texts[row] is not None:
            begin, word = text.index(shown, first), places.words[row]
            found.append((row, begin, begin + len(shown), -1 if word is None else word))
    rows, starts, ends, words = np.array(found, dtype=np.int64).reshape(-1, 4).T
    begins = np.diff(words, prepend=-2) != 0
    begins[1:] |= _apart(text, starts.tolist(), ends.tolist())[1:] & (np.diff(starts) > 0)
    return Tokens(rows, starts + start, ends + start, begins)


def _apart(text: str, starts: list[int], ends: list[int]) -> NDArray[np.bool_]:
    """Whether what a token shows cannot be of one word with what the one before it shows, [K]."""
    alone = [UNSPACED.match(text, start) is not None for start in starts]
    found = [False] * len(starts)
    for place in range(1, len(starts)):
        end, start = ends[place - 1], starts[place]
        found[place] = (
            alone[place - 1]
            or alone[place]
            or any(character.isspace() for character in text[end:start])
            or (end <= start and (_is_mark(text[end - 1]) or _is_mark(text[start])))
        )
    return np.array(found, dtype=np.bool_)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith(MARKS)
