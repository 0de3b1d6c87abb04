"""Tagged words: as rows of a table hold them, as tokens of a text show them, and the entities that BIO tags spell."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.columns import list_in
from kd_deploy.tasks.encoding import Encoded, Places
from kd_deploy.tasks.task import Piece, Reading, Tagged
from kd_deploy.tasks.words import UNSPACED, Tokens, tokens_of

OUTSIDE = "O"
TAG = re.compile(r"O|[BI]-.+")

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """An entity as tags spell it: its type, its first and its last word."""

    type: str
    first: int
    last: int


def spans(tags: Iterable[int], names: Sequence[str]) -> list[Span]:
    """The entities of a row of tags, in their order.

    Lenient, as seqeval is by default: I-X begins an entity too where none of type X goes before it.

    Args:
        tags: Class ids.
        names: The tags that they stand for.
    """
    found: list[Span] = []
    before = ""
    for place, tag in enumerate(tags):
        prefix, _, kind = names[tag].partition("-")
        if kind and kind == before and prefix == "I":
            found[-1] = Span(kind, found[-1].first, place)
        elif kind:
            found.append(Span(kind, place, place))
        before = kind
    return found


def continued(names: Sequence[str]) -> NDArray[np.int64]:
    """For each tag the one of an entity that goes on, [C]: I-X for B-X; itself where there is no I-X."""
    ids = {name: index for index, name in enumerate(names)}
    return np.array([ids.get("I" + name[1:], index) for name, index in ids.items()], dtype=np.int64)


def tags_of(seen: Iterable[str]) -> tuple[str, ...]:
    """O, then B-X and I-X of every type that is seen, in alphabetical order."""
    kinds = sorted({tag[2:] for tag in seen} - {""})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))


def read_words(table: Table) -> tuple[Words, ...]:
    """The column tokens: the words of each row.

    Raises:
        DataError: A row has no list, an empty list, or something in it that is no word; the line is named.
    """
    return tuple(
        tuple(_word(table, row, number, value=value) for number, value in enumerate(_listed(table, "tokens", row), 1))
        for row in range(len(table))
    )


def read_tags(table: Table, words: Sequence[Words]) -> tuple[Words, ...]:
    """The column tags: a BIO tag for each word of each row; numbers count where the table says what they mean.

    Raises:
        DataError: A tag is not BIO, or there are more or fewer than words; the line is named.
    """
    found = []
    for row, one in enumerate(words):
        values = _listed(table, "tags", row)
        if len(values) != len(one):
            raise DataError(
                f"{table.place(row)}: {len(one)} tokens and {len(values)} tags", hint="give each word a tag"
            )
        found.append(tuple(_tag(table, row, value) for value in values))
    return tuple(found)


def joined(words: Sequence[Words]) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """The text that each row of a table becomes, and the characters of each word in it.

    A space goes between two words; none between two single characters where the row has single Chinese ones.
    """
    return [_joined(row) for row in words]


def tokens_of_piece(piece: Piece, encoded: Encoded) -> Tokens:
    """The tokens of a piece, by the characters of the whole text."""
    return tokens_of(cast("str", piece.input), cast("Places", encoded.places), start=piece.start)


def tokens_read(readings: Sequence[Reading]) -> tuple[Tokens, NDArray[np.float32]]:
    """The tokens of a whole text, and the logits of each, [K, C].

    Where two pieces overlap, a token is read from the one in which it is farther from the cut.
    """
    pieces = [one.piece for one in readings]
    middles = [(one.start + len(one.input) + later.start) / 2 for one, later in pairwise(pieces)]
    kept = [
        tokens_of_piece(one.piece, one.encoded).within(first, last)
        for one, (first, last) in zip(readings, pairwise([0.0, *middles, np.inf]), strict=True)
    ]
    logits = [one.logits[tokens.rows] for one, tokens in zip(readings, kept, strict=True)]
    whole = Tokens(
        rows=np.concatenate([one.rows for one in kept]),
        starts=np.concatenate([one.starts for one in kept]),
        ends=np.concatenate([one.ends for one in kept]),
        begins=np.concatenate([one.begins for one in kept]),
    )
    return whole, np.concatenate(logits)


def text_of(readings: Sequence[Reading]) -> str:
    """The whole text of which these are the pieces; spaces where none of them reaches."""
    pieces = [one.piece for one in readings]
    steps = [(one, later.start - one.start) for one, later in pairwise(pieces)]
    parts = [cast("str", one.input)[:step].ljust(step) for one, step in steps]
    return "".join([" " * pieces[0].start, *parts, cast("str", pieces[-1].input)])


def tags_of_tokens(tokens: Tokens, tagged: Tagged, *, names: Sequence[str], start: int) -> NDArray[np.int64]:
    """The class ids [K] that tagged words give to the tokens of a piece.

    The token at a word's first character has the tag of the word, the others that of an entity that goes on. Where a
    normalizer drops the first character, the first token that is left stands in for it.

    Args:
        tokens: Those of a piece.
        tagged: The words of the whole text.
        names: The tags.
        start: Where the piece begins: of a word that has begun before, it has no first token.
    """
    words, tags = np.array(tagged.words), np.array(tagged.tags)
    at = np.searchsorted(words[:, 0], tokens.starts, side="right") - 1  # [K]
    first = (words[at, 0] == tokens.starts) | ((np.diff(at, prepend=-1) > 0) & (words[at, 0] >= start))
    found = np.where(first, tags[at], continued(names)[tags[at]])
    return np.where(tokens.starts < words[at, 1], found, names.index(OUTSIDE))


def tags_of_words(
    tokens: Tokens, classes: NDArray[np.int64], *, words: Sequence[tuple[int, int]], names: Sequence[str]
) -> NDArray[np.int64]:
    """The class ids of words, as those of tokens [K] say: the way back from `tags_of_tokens`.

    A word within a token that began before it goes on with what that token is; a word without a token is outside.
    """
    outside = names.index(OUTSIDE)
    starts, ends = np.array(words).T
    at = np.searchsorted(tokens.starts, starts)
    token_starts, token_ends = np.append(tokens.starts, np.iinfo(np.int64).max), np.append(tokens.ends, 0)
    tags = np.append(classes, outside)
    over = np.where((at > 0) & (token_ends[at - 1] > starts), continued(names)[tags[at - 1]], outside)
    return np.where(token_starts[at] < ends, tags[at], over)


def _joined(words: Words) -> tuple[str, tuple[tuple[int, int], ...]]:
    together = any(len(word) == 1 and UNSPACED.match(word) for word in words)
    text, places = words[0], [(0, len(words[0]))]
    for before, word in pairwise(words):
        text += word if together and len(before) == len(word) == 1 else f" {word}"
        places.append((len(text) - len(word), len(text)))
    return text, tuple(places)


def _listed(table: Table, column: str, row: int) -> Sequence[object]:
    value = table.columns[column][row]
    if isinstance(value, str):
        listed = list_in(value)
        value = [part for part in value.split(" ") if part] if listed is None else listed
    if not isinstance(value, list | tuple | np.ndarray):
        raise DataError(
            f"{table.place(row)}: {column} is {value!r}, not a list",
            hint='write a JSON list, as in ["Ada", "slept"], or a text with spaces, as in Ada slept',
        )
    if len(value) == 0:
        raise DataError(f"{table.place(row)}: {column} is empty", hint="correct or remove the row")
    return list(value)


def _word(table: Table, row: int, number: int, *, value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise DataError(f"{table.place(row)}: token {number} is {value!r}, not a word", hint="correct or remove the row")


def _tag(table: Table, row: int, value: object) -> str:
    known = table.label_names
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < len(known):
        value = known[int(value)]
    if isinstance(value, str) and TAG.fullmatch(value):
        return value
    form = "O, or B-X for the first word of an entity of type X and I-X for its other words"
    raise DataError(f"{table.place(row)}: tag {value!r} is not BIO", hint=f"write tags by name: {form}")
