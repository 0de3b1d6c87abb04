"""The words that lie nearest to a word in an embedding table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kd_deploy.distill.words import peel
from kd_deploy.errors import ShapeError

BYTE_MARKER = "Ġ"  # Begins a word in byte-level vocabularies.
PIECE_MARKER = "▁"  # Begins a word in sentencepiece vocabularies.
MARKED_SHARE = 0.05  # A vocabulary with fewer marked entries only has the marker among its letters.
WORDS_AT_ONCE = 64
SPARE = 4  # Looked at for each neighbour wanted: spellings that differ in case alone count once.


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The nearest whole words of a vocabulary; a word is looked up once and remembered.

    Jiao et al. 2020, "TinyBERT", arXiv 1909.10351, draw replacements from the 15 nearest words. Nearness in an
    embedding table is use in like places, not likeness of meaning: "good" lies near "bad". What is made with
    it needs an answer of its own from the teacher.
    """

    words: tuple[str, ...]
    units: NDArray[np.float32]
    most: int
    _rows: dict[str, int]
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, vocabulary: Mapping[str, int], vectors: NDArray[np.floating], *, most: int = 15) -> Self:
        """The neighbours in an embedding table.

        Candidates are whole words: no pieces that continue a word, no special tokens, no punctuation. Where
        a vocabulary marks the beginning of a word, they are the marked entries, without the mark.

        Args:
            vocabulary: Token to row of the table.
            vectors: The table, [V, H], any float dtype.
            most: Neighbours of a word, at most; above 0.

        Raises:
            ShapeError: The table is no matrix, or has fewer rows than the vocabulary needs.
        """
        if vectors.ndim != 2 or len(vectors) <= max(vocabulary.values(), default=-1):  # noqa: PLR2004 - a matrix
            needed = max(vocabulary.values(), default=-1) + 1
            raise ShapeError(f"the embedding table is {list(vectors.shape)}, the vocabulary needs {needed} rows")
        found = dict(sorted(_whole_words(vocabulary).items(), key=lambda item: item[1]))
        units = vectors[list(found.values())].astype(np.float32)  # [W, H]
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return cls(words=tuple(found), units=units, most=most, _rows={word: row for row, word in enumerate(found)})

    def nearest(self, word: str) -> tuple[str, ...]:
        """The nearest other words, nearest first, each with the case of the word's first letter.

        Args:
            word: As it stands in a text; looked up as it is, then in lower case.

        Returns:
            At most `most` words; none where the word is no entry.
        """
        if word not in self._known:
            self.look_up([word])
        return self._known[word]

    def look_up(self, words: Iterable[str]) -> None:
        """Remember the neighbours of many words: far faster together than one by one."""
        wanted = sorted({word for word in words if word not in self._known})
        rows = {word: row for word in wanted if (row := self._row(word)) is not None}
        self._known.update((word, ()) for word in wanted if word not in rows)
        for start in range(0, len(rows), WORDS_AT_ONCE):
            block = list(rows)[start : start + WORDS_AT_ONCE]
            likeness = self.units[[rows[word] for word in block]] @ self.units.T  # [words, W]
            count = min(len(self.words), SPARE * self.most)
            near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]  # [words, count]
            self._known.update((word, self._ranked(word, ids)) for word, ids in zip(block, near, strict=True))

    def _row(self, word: str) -> int | None:
        return self._rows.get(word, self._rows.get(word.lower()))

    def _ranked(self, word: str, candidates: NDArray[np.intp]) -> tuple[str, ...]:
        # In double precision and rounded, so that the words looked up beside this one cannot change its order.
        candidates = np.sort(candidates)
        own = self.units[self._row(word)].astype(np.float64)
        likeness = np.round(self.units[candidates].astype(np.float64) @ own, 9)
        ordered = candidates[np.argsort(-likeness, kind="stable")]
        spellings: dict[str, str] = {}  # Lower case to the nearest spelling of it.
        for row in ordered:
            spellings.setdefault(self.words[row].lower(), self.words[row])
        spellings.pop(word.lower(), None)
        return tuple(_with_case_of(word, one) for one in list(spellings.values())[: self.most])


def _with_case_of(word: str, other: str) -> str:
    if word[0].isupper():
        return other[0].upper() + other[1:]
    return other[0].lower() + other[1:] if word[0].islower() else other


def _whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    # Punctuation at an end means a special token, [CLS] or <s>, or a piece that continues a word, ##ing. A lone
    # letter of an alphabet is mostly the rest of another word, the s of it's.
    marker = _marker(vocabulary)
    plain = {
        _from_bytes(token[1:]) if marker == BYTE_MARKER else token[len(marker) :]: row
        for token, row in vocabulary.items()
        if token.startswith(marker)
    }
    return {word: row for word, row in plain.items() if _is_whole(word)}


def _is_whole(word: str) -> bool:
    lone_letter = len(word) == 1 and word.lower() != word.upper()
    return word != "" and peel(word)[1] == word and not lone_letter


def _marker(vocabulary: Mapping[str, int]) -> str:
    for marker in (BYTE_MARKER, PIECE_MARKER):
        marked = sum(token.startswith(marker) and token != marker for token in vocabulary)
        if marked > MARKED_SHARE * len(vocabulary):
            return marker
    return ""


def _from_bytes(token: str) -> str:
    # Empty where the bytes are half a character.
    table = _bytes_of_characters()
    try:
        return bytes(table[character] for character in token).decode()
    except (KeyError, UnicodeDecodeError):
        return ""


@cache
def _bytes_of_characters() -> dict[str, int]:
    # Byte-level vocabularies write a visible Latin-1 byte as itself, and the others, in order, from code 256 on.
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
