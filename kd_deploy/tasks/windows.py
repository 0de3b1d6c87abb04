"""Inputs longer than a model reads at once, cut into overlapping slices of plain text."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from kd_deploy.tasks.encoding import CHARACTERS_PER_TOKEN, Encoder, TextInput, utf8
from kd_deploy.tasks.task import Piece

OVERLAP = 4  # consecutive slices share one part in so many
BLOCK = 1024  # inputs tokenised at a time, so that a large set does not fill memory with what is thrown away


@dataclass(frozen=True, slots=True)
class _Text:
    """A text and the characters of its n tokens; `words`: the tokens at which a word begins, and n itself."""

    text: str
    starts: list[int]
    ends: list[int]
    words: list[int]

    def __len__(self) -> int:
        return len(self.starts)

    def word_by(self, token: int) -> int:
        """The last token up to this one at which a word begins."""
        return self.words[bisect_right(self.words, token) - 1]

    def word_from(self, token: int) -> int:
        """The first token from this one on at which a word begins, or n."""
        return self.words[bisect_left(self.words, token)]

    def stands_apart(self, token: int) -> bool:
        """Whether a word begins here, and not right behind another."""
        return token == self.word_by(token) and (self.ends[token - 1] if token else 0) < self.starts[token]

    def slice(self, begin: int, end: int) -> tuple[int, str]:
        """Where the characters of tokens `begin` to `end` start, and these characters.

        The character before a word is taken along: to some tokenizers a space in front is part of the word.
        """
        start = self.starts[begin] - self.stands_apart(begin)
        return start, self.text[start : self.ends[end - 1]]


@dataclass(frozen=True, slots=True)
class _Cutter:
    """A tokenizer that does not truncate, and how much may be read at once."""

    tokenizer: Tokenizer
    tokens: int
    characters: int

    def read(self, texts: Iterable[str]) -> dict[str, _Text]:
        """Each text with its tokens."""
        distinct = list(dict.fromkeys(texts))
        found = self.tokenizer.encode_batch([utf8(text) for text in distinct], add_special_tokens=False)
        return {text: _with_places(text, one.offsets, one.word_ids) for text, one in zip(distinct, found, strict=True)}

    def pieces(self, row: int, one: TextInput, *, texts: dict[str, _Text]) -> Iterator[Piece]:
        """The pieces of one input whose texts have been read."""
        first, second = ("", one) if isinstance(one, str) else one
        room = self.tokens - self.tokenizer.num_special_tokens_to_add(not isinstance(one, str))
        needed = len(texts[second]) + (len(texts[first]) if first else 0)
        if needed <= room and max(len(first), len(second)) <= self.characters:
            yield Piece(row, one)
            return
        asked = self.question(texts[first], room=room) if first else ""
        for start, text in self.slices(texts[second], room=max(1, room - self.count(asked))):
            yield Piece(row, text if isinstance(one, str) else (asked, text), start)

    def count(self, text: str) -> int:
        """How many tokens a text has by itself."""
        return len(self.tokenizer.encode(utf8(text), add_special_tokens=False))

    def question(self, read: _Text, *, room: int) -> str:
        """The first text of a pair, cut so that half of all tokens are left."""
        most = room - (self.tokens + 1) // 2
        if len(read) <= most and len(read.text) <= self.characters:
            return read.text
        if not len(read) or most <= 0:
            return ""
        return read.slice(0, self.end(read, 0, room=most))[1]

    def slices(self, read: _Text, *, room: int) -> Iterator[tuple[int, str]]:
        """Where each slice of a text starts, and its characters, at most `room` tokens each."""
        if not len(read):
            yield 0, read.text
            return
        begin, end = 0, self.end(read, 0, room=room)
        yield read.slice(begin, end)
        while end < len(read):
            begin, end = self.following(read, begin, end=end, room=room)
            yield read.slice(begin, end)

    def following(self, read: _Text, begin: int, *, end: int, room: int) -> tuple[int, int]:
        """The tokens of the slice after that of tokens `begin` to `end`."""
        wanted = end - room // OVERLAP
        start = read.word_by(wanted) if wanted > begin else end
        if start <= begin:  # one word fills the slice up to there
            after = read.word_from(wanted)
            start = after if after <= end else wanted
        stop = self.end(read, start, room=room)
        return (start, stop) if stop > end else (end, self.end(read, end, room=room))

    def end(self, read: _Text, begin: int, *, room: int) -> int:
        """Where a slice from token `begin` ends: before a word where it can, always after a token."""
        most = bisect_right(read.ends, read.starts[begin] + self.characters - 1)
        reach = max(begin + 1, min(begin + room, most, len(read)))
        word = read.word_by(reach)
        end = word if word > begin else reach
        if end == word and (begin == 0 or read.stands_apart(begin)):
            return end
        return self.fitting(read, begin, end=end, room=room)

    def fitting(self, read: _Text, begin: int, *, end: int, room: int) -> int:
        """The same, or earlier: a word that is cut, or begins the text, may have more tokens than it had inside."""
        while end > begin + 1:
            excess = self.count(read.slice(begin, end)[1]) - room
            if excess <= 0:
                break
            end = max(begin + 1, end - excess)
            word = read.word_by(end)
            end = word if word > begin else end
        return end


def windows(inputs: Sequence[TextInput], encoder: Encoder) -> list[Piece]:
    """Every input in as many pieces as the model has to read, in their order.

    An input that fits is one piece, as it is. Of a longer one the text is sliced, of a pair the second text, and the
    first is repeated; one that would leave less than half of all tokens to the second is cut. Slices begin and end
    with words, as the tokenizer sees them, and share a quarter of their tokens; only a word with more tokens than
    there is room for is divided.
    """
    long = [row for rows in _blocks(range(len(inputs))) for row in _long(rows, inputs, encoder)]
    cut: dict[int, list[Piece]] = {}
    if long:
        cutter = _Cutter(encoder.uncut, encoder.max_length, encoder.max_length * CHARACTERS_PER_TOKEN)
        for rows in _blocks(long):
            texts = cutter.read(text for row in rows for text in _texts(inputs[row]))
            cut |= {row: list(cutter.pieces(row, inputs[row], texts=texts)) for row in rows}
    return [piece for row, one in enumerate(inputs) for piece in cut.get(row, (Piece(row, one),))]


def _long(rows: Sequence[int], inputs: Sequence[TextInput], encoder: Encoder) -> list[int]:
    """Those that may be too long: truncated, or nearly so."""
    added = encoder.tokenizer.num_special_tokens_to_add
    distinct = list(dict.fromkeys(text for row in rows for text in _texts(inputs[row])))  # one context, many questions
    lengths = [
        encoder.max_length if len(text) > encoder.max_length * CHARACTERS_PER_TOKEN else len(one) - added(False)
        for text, one in zip(distinct, encoder.encode_all(distinct), strict=True)
    ]
    known = dict(zip(distinct, lengths, strict=True))
    needed = {row: sum(known[text] for text in _texts(inputs[row])) for row in rows}
    return [row for row in rows if needed[row] + added(not isinstance(inputs[row], str)) >= encoder.max_length]


def _with_places(text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None]) -> _Text:
    words = [token for token, word in enumerate(word_ids) if not token or word != word_ids[token - 1]]
    return _Text(text, [start for start, _ in offsets], [end for _, end in offsets], [*words, len(word_ids)])


def _texts(one: TextInput) -> tuple[str, ...]:
    return (one,) if isinstance(one, str) else one


def _blocks(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(rows), BLOCK):
        yield rows[first : first + BLOCK]
