"""Texts longer than a model reads at once, in slices that follow each other: every token once, as it was."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Tokenizer

from kd_deploy.tasks.encoding import CHARACTERS_PER_TOKEN, Encoder, utf8
from kd_deploy.tasks.pieces import whole
from kd_deploy.tasks.task import Piece

BLOCK = 1024  # texts tokenised at a time
AHEAD = 64  # tokens read behind a cut; the first half of them must be as they were in the text


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as n tokens: their ids, where each begins and ends, and the tokens at which a word begins."""

    text: str
    ids: list[int]
    starts: list[int]
    ends: list[int]
    words: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def between(self, start: int, end: int) -> str:
        """The characters from a place to the end of the token before `end`; behind the last token too."""
        return self.text[start:] if end == len(self) else self.text[start : self.ends[end - 1]]


@dataclass(frozen=True, slots=True)
class _Slicer:
    """A tokenizer that does not truncate, and how much may be read at once."""

    tokenizer: Tokenizer
    tokens: int
    characters: int

    def read(self, text: str) -> _Text:
        """A text with its tokens."""
        found = self.tokenizer.encode(utf8(text), add_special_tokens=False)
        numbers, places = found.word_ids, found.offsets
        words = [token for token, (last, word) in enumerate(pairwise(numbers), 1) if word != last]
        return _Text(text, found.ids, [start for start, _ in places], [end for _, end in places], words)

    def slices(self, text: str) -> Iterator[tuple[int, str]]:
        """Where each slice of a text starts, and its characters: as many tokens each as there is room for."""
        read, start, begin = self.read(text), 0, 0
        while begin < len(read):
            if read.ends[begin] - start > self.characters:  # behind a gap that would be all there is to see
                start = read.starts[begin]
            begin = self.end(read, begin, start=start)
            part = read.between(start, begin)
            yield start, part
            start += len(part)
        if not len(read):
            yield 0, text

    def end(self, read: _Text, begin: int, *, start: int) -> int:
        """The token at which the slice that starts here ends: the last one, or a word's first, that can be cut at."""
        within = bisect_right(read.ends, start + self.characters)
        reach = max(begin + 1, min(begin + self.tokens, within, len(read)))
        words = read.words[bisect_right(read.words, begin) : bisect_left(read.words, reach)]
        clean = (end for end in (reach, *reversed(words)) if self.is_clean(read, end, start=start))
        return next(clean, 0) or self.fitting(read, begin, end=reach, start=start)

    def is_clean(self, read: _Text, end: int, *, start: int) -> bool:
        """Whether the text has the same tokens on both sides of a cut as it has without."""
        before = self.ids(read.between(start, end))
        near = before[len(before) // 2 :]
        stop = min(end + AHEAD, len(read))
        sure = stop if stop == len(read) else (end + stop) // 2
        after = self.ids(read.between(read.ends[end - 1], stop)) if end < len(read) else []
        return (
            len(before) <= self.tokens
            and near == read.ids[max(0, end - len(near)) : end]
            and after[: sure - end] == read.ids[end:sure]
        )

    def fitting(self, read: _Text, begin: int, *, end: int, start: int) -> int:
        """A token to end at where every cut changes tokens: the last that leaves as many as there is room for."""
        while end > begin + 1:
            excess = len(self.ids(read.between(start, end))) - self.tokens
            if excess <= 0:
                break
            end = max(begin + 1, end - excess)
        while end < len(read) and read.starts[end] < read.ends[end - 1]:  # of the same character
            end += 1
        return end

    def ids(self, text: str) -> list[int]:
        """The tokens of a text by itself."""
        return list(self.tokenizer.encode(utf8(text), add_special_tokens=False).ids)


def slices(inputs: Sequence[str], encoder: Encoder) -> list[Piece]:
    """The texts in their order, long ones in slices without a gap or an overlap.

    A slice ends where the tokens on both sides stay what they are in the whole text: behind any token, else before a
    word. Only where there is no such place, as in a word with more tokens than the model reads, the tokens at the cut
    are others. A gap with more characters than an encoder looks at is left out.
    """
    long = _long(inputs, encoder)
    if not long:
        return whole(inputs)
    room = max(1, encoder.max_length - encoder.uncut.num_special_tokens_to_add(False))
    slicer = _Slicer(encoder.uncut, room, encoder.max_length * CHARACTERS_PER_TOKEN)
    return [
        Piece(row, part, start)
        for row, text in enumerate(inputs)
        for start, part in (slicer.slices(text) if row in long else [(0, text)])
    ]


def _long(inputs: Sequence[str], encoder: Encoder) -> set[int]:
    """Those that may be too long: truncated, or nearly so."""
    found = set()
    for first in range(0, len(inputs), BLOCK):
        some = inputs[first : first + BLOCK]
        for row, (text, one) in enumerate(zip(some, encoder.encode_all(some), strict=True), first):
            if len(one) >= encoder.max_length or len(text) > encoder.max_length * CHARACTERS_PER_TOKEN:
                found.add(row)
    return found
