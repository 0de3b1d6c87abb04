"""Filling masks: which token stands where a text shows none. Learned from plain texts, without labels."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.data.table import Table
from kd_deploy.tasks.columns import texts
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.masking import masked, shown
from kd_deploy.tasks.pieces import single
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.task import (
    NO_DECISION,
    UNKNOWN,
    Answers,
    Examples,
    LabelSpace,
    Level,
    Piece,
    Prediction,
    Reading,
    Readings,
)
from kd_deploy.tasks.windows import windows

NAME = "fill-mask"
LEVEL: Level = "token"
ANSWERS: Answers = "classes"
OUTPUTS = ("logits",)
NAMES: tuple[str, ...] = ()
HEAD = "ForMaskedLM"
LIMIT = "It knows words as they stood in its training texts; for a task, a student starts from it."
REQUIRED = ("text",)
OPTIONAL: tuple[str, ...] = ()
INPUTS = ("text",)
TOP = 5  # fillings of a place that a user gets
SAMPLE = (
    "The bridge over the river was built in the last century.",
    "Nobody had told the guests that the train would leave an hour earlier.",
    "Water boils at a lower temperature in the mountains than at the sea.",
    "Thank you.",
)


@dataclass(frozen=True, slots=True)
class Filling:
    """A token for a place, and its probability."""

    token: str
    score: float


@dataclass(frozen=True, slots=True)
class Fillings:
    """The answer to one text: the text as it was read, and for each mask in it the likeliest tokens, best first."""

    text: str
    places: tuple[tuple[Filling, ...], ...]


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """No classes of its own: the vocabulary's entries are the answers."""
    return LabelSpace(task=NAME, names=NAMES, problem_type="single_label_classification")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The texts of a table, equal ones once; what is hidden of each says itself what is right.

    Raises:
        DataError: An empty text; the line is named.
    """
    inputs = tuple(dict.fromkeys(texts(table, "text")))
    return Examples(inputs=inputs, targets=((),) * len(inputs), labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The texts of a table."""
    return texts(table, "text")


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """The texts, long ones in slices, with some words hidden, or those that the user hid.

    Raises:
        UsageError: An input is a pair.
        BundleError: The tokenizer has no mask token.
    """
    return masked(windows(single(inputs, task=NAME), encoder), encoder)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """The hidden tokens of each piece, [S] int64; NO_DECISION at all others."""
    out = []
    for piece, one in zip(pieces, encoded, strict=True):
        aim = np.full(len(one), NO_DECISION, dtype=np.int64)
        if piece.hidden:
            aim[list(piece.hidden.places)] = piece.hidden.ids
        out.append(aim)
    return out


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """For every text minus the log-probability of what is hidden, then in turn each token said and each hidden."""
    return tuple(_prediction(reading) for reading in readings)


def references(examples: Examples) -> tuple[Prediction, ...]:
    """Nothing, (): the predictions hold what was hidden."""
    return cast("tuple[Prediction, ...]", examples.targets)


def answers(readings: Readings, labels: LabelSpace) -> list[Fillings]:
    """The likeliest fillings of every mask."""
    return [_answer(reading) for reading in readings]


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line."""
    given = cast("Fillings", answer)
    places = [[asdict(one) | {"score": round(one.score, 6)} for one in place] for place in given.places]
    return {"text": given.text, "fillings": places}


def main_metric(examples: Examples) -> str:
    """The share of hidden tokens that were found."""
    return "masked_accuracy"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """Of each text the tokens found, the tokens hidden, and minus their log-probability: [N, 3]."""
    rows = []
    for one in cast("Sequence[tuple[float, ...]]", predictions):
        said, hidden = one[1::2], one[2::2]
        rows.append((sum(a == b for a, b in zip(said, hidden, strict=True)), len(hidden), one[0]))
    return np.array(rows, dtype=np.float64)


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """The share of hidden tokens found, and the pseudo-perplexity: e to the mean of minus their log-probability."""
    (hits, hidden, surprise), _ = summed(statistics, counts)
    hidden = max(hidden, 1.0)
    return {"masked_accuracy": float(hits / hidden), "pseudo_perplexity": float(np.exp(surprise / hidden))}


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of hidden tokens for which two models say the same, over texts that hide as many for both."""
    pairs = zip(cast("Sequence[tuple[float, ...]]", left), cast("Sequence[tuple[float, ...]]", right), strict=True)
    said = [
        (a, b) for one, other in pairs if len(one) == len(other) for a, b in zip(one[1::2], other[1::2], strict=True)
    ]
    return sum(a == b for a, b in said) / len(said) if said else 0.0


def shortened(piece: Piece, encoded: Encoded, logits: NDArray[np.float32], followed: bool) -> NDArray[np.float32]:
    """What is kept of the logits [S, V] of a piece: how its hidden tokens are filled in.

    Returns:
        Of each hidden token its log-probability, 0 where the user hid it; the likeliest entries, best first; and the
        log-probabilities of these: [n, 1 + 2 × TOP], less where the vocabulary has fewer entries.
    """
    rows = []
    for place, wanted in zip(piece.hidden.places, piece.hidden.ids, strict=True) if piece.hidden else ():
        best, highest = _highest(logits[place]), float(logits[place].max())
        total = highest + math.log(np.exp(logits[place] - highest).sum(dtype=np.float64))
        told = 0.0 if wanted == UNKNOWN else float(logits[place, wanted]) - total
        rows.append([told, *best, *(float(logits[place, token]) - total for token in best)])
    return np.array(rows, dtype=np.float32).reshape(len(rows), 1 + 2 * min(TOP, logits.shape[-1]))


def _prediction(reading: Sequence[Reading]) -> Prediction:
    surprise, pairs = 0.0, []
    for one in reading:
        for (told, best, *_), wanted in zip(one.logits.tolist(), _ids(one), strict=True):
            if wanted != UNKNOWN:
                surprise -= told
                pairs.append((best, float(wanted)))
    return (surprise, *(token for pair in pairs for token in pair))


def _answer(reading: Sequence[Reading]) -> Fillings:
    text, places, seen = "", [], set[int]()
    drawn = not any(UNKNOWN in _ids(one) for one in reading)
    for one in reading:
        start = one.piece.start
        # Where words were hidden here, characters are no longer where they were in the whole text.
        before = (f"{text} " if text else "") if drawn else text[:start].ljust(start)
        text = before + shown(one.piece, one.encoded)
        if one.piece.hidden is None:
            continue
        stands = _stands(one)
        for place, row in zip(one.piece.hidden.places, one.logits.tolist(), strict=True):
            if drawn or stands[place] not in seen:  # a slice may show a gap once more
                places.append(_fillings(row, one.piece.hidden.tokenizer))
                seen.add(stands[place])
    return Fillings(text, tuple(places))


def _ids(reading: Reading) -> tuple[int, ...]:
    return reading.piece.hidden.ids if reading.piece.hidden else ()


def _stands(reading: Reading) -> list[int]:
    """The character of the whole text at which each token begins."""
    assert reading.encoded.places is not None  # noqa: S101 - they are read where tokens are decided on
    return [reading.piece.start + begin for begin, _ in reading.encoded.places.characters]


def _fillings(row: Sequence[float], tokenizer: Tokenizer) -> tuple[Filling, ...]:
    best = len(row) // 2
    names = [tokenizer.decode([int(token)], skip_special_tokens=False).strip() for token in row[1 : 1 + best]]
    return tuple(Filling(name, math.exp(log_p)) for name, log_p in zip(names, row[1 + best :], strict=True))


def _highest(logits: NDArray[np.float32]) -> list[int]:
    """The first entries, best first: a few looks at a whole vocabulary are far faster than a sort of it."""
    left, best = logits.copy(), []
    for _ in range(min(TOP, len(left))):
        best.append(int(left.argmax()))
        left[best[-1]] = -math.inf
    return best
