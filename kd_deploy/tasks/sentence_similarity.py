"""Sentence similarity: a number for a pair of texts that a model reads together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks.columns import texts_or_pairs
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.pieces import stacked, whole
from kd_deploy.tasks.ranking import pearson, spearman
from kd_deploy.tasks.task import Answers, Examples, LabelSpace, Level, Piece, Prediction, Readings

NAME = "sentence-similarity"
LEVEL: Level = "text"
ANSWERS: Answers = "number"
OUTPUTS = ("logits",)
NAMES = ("score",)
HEAD = "ForSequenceClassification"
LIMIT = "Its scores are on the scale of those that it was trained on, and may lie outside of it."
REQUIRED = ("text", "text_pair", "score")
OPTIONAL: tuple[str, ...] = ()
INPUTS = ("text", "text_pair")
SAMPLE = (
    ("A man is repairing his bicycle in the yard.", "Somebody mends a bike outside."),
    ("The museum is closed on Mondays.", "On Monday the museum opens at nine, as on every other day of the week."),
    ("Rain.", "The share price of the company fell by a tenth after its chairman had left."),
)
LARGEST = float(np.finfo(np.float32).max)  # what a model answers in: anything beyond is infinite there


@dataclass(frozen=True, slots=True)
class Similarity:
    """The answer to one pair: how alike its texts are, on the scale of the scores that were learned."""

    score: float


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """The one number that an answer is.

    Args:
        table: Training rows.
        teacher: Names of what the teacher's logits stand for; empty where it is yet to learn.

    Raises:
        DataError: A score is no number, all are the same, or the teacher answers with several numbers.
    """
    if len(teacher) > 1:
        raise DataError(
            f"the teacher has {len(teacher)} classes, and {NAME} is a single score",
            hint="name a teacher with one output, or add teacher.finetune to teach it yours",
        )
    scores = read_scores(table)
    if len(set(scores)) == 1:
        raise DataError(
            f"{table.source} has a single score, {scores[0]:g}: there is nothing to learn",
            hint="give training data with different scores",
        )
    return LabelSpace(task=NAME, names=NAMES, problem_type="regression")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table as pairs of texts and their scores.

    Raises:
        DataError: An empty text or a score that is no number; the line is named.
    """
    inputs, targets = texts_or_pairs(table), read_scores(table)
    return Examples(inputs=inputs, targets=targets, labels=labels, source=table.source, sha256=table.sha256)


def read_scores(table: Table) -> tuple[float, ...]:
    """The column score as numbers; texts that are numbers count, as CSV has them.

    Raises:
        DataError: A score is no finite number; the line is named.
    """
    return tuple(_score(table, row) for row in range(len(table)))


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The pairs of texts of a table whose scores do not matter."""
    return texts_or_pairs(table)


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """Every pair whole: what is too long is cut.

    Raises:
        UsageError: An input is a single text.
    """
    single = next((one for one in inputs if isinstance(one, str)), None)
    if single is not None:
        raise UsageError(f"{NAME} takes pairs of texts, not {single[:60]!r} alone", hint="give two texts")
    return whole(inputs)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """The score of each pair, [], float32; NaN for pairs without one."""
    out = np.full(len(pieces), np.nan, dtype=np.float32)
    out[: len(examples)] = cast("tuple[float, ...]", examples.targets)
    return list(out)


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The score of every pair."""
    return tuple(stacked(readings)[:, 0].tolist())


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The score that each pair was given."""
    return cast("tuple[float, ...]", examples.targets)


def answers(readings: Readings, labels: LabelSpace) -> list[Similarity]:
    """The answer to every pair."""
    return [Similarity(float(reading[0].logits[0])) for reading in readings]


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line."""
    return {"score": round(cast("Similarity", answer).score, 6)}


def main_metric(examples: Examples) -> str:
    """Spearman: whether pairs stand in the right order, on whatever scale."""
    return "spearman"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """The prediction and the reference of each row, [N, 2]."""
    return np.column_stack([_numbers(predictions), _numbers(references)])


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """How predictions go with references: by their order, and in a straight line."""
    predicted, actual = statistics.T
    return {
        "spearman": spearman(predicted, actual, counts=counts),
        "pearson": pearson(predicted, actual, counts=counts),
    }


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """Spearman between the scores of two models; 1 where they are the same, constant ones too."""
    if tuple(left) == tuple(right):
        return 1.0
    return spearman(_numbers(left), _numbers(right))


def _numbers(values: Sequence[Prediction]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _score(table: Table, row: int) -> float:
    value = table.columns["score"][row]
    number = _number(value)
    if not abs(number) <= LARGEST:  # so, and not with >: NaN is no number either
        raise DataError(
            f"{table.place(row)}: score is {value!r}, not a finite number",
            hint="correct or remove the row",
        )
    return number


def _number(value: object) -> float:
    """The value as a number, NaN where it is none: True is none, and neither is 1_0, which Python reads as ten."""
    kinds = (str, int, float, Decimal, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or (isinstance(value, str) and "_" in value):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
