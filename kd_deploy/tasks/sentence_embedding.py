"""Sentence embedding: a vector for a text, such that the cosine of two vectors says how alike their texts are.

A row is a text, and the vector is to be the teacher's; or a pair with a score, and the cosines of the rows
are to stand in the order of the scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import sentence_similarity
from kd_deploy.tasks.columns import texts, texts_or_pairs
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.task import Answers, Examples, LabelSpace, Level, Piece, Prediction, Reading, Readings

NAME = "sentence-embedding"
LEVEL: Level = "text"
ANSWERS: Answers = "vector"
OUTPUTS = ("sentence_embedding",)
NAMES: tuple[str, ...] = ()
HEAD = ""  # the encoder alone
LIMIT = "Its vectors can be compared with one another, and not with those of another model."
REQUIRED = ("text",)
OPTIONAL = ("text_pair", "score")
INPUTS = ("text",)
SAMPLE = (
    "How do I change the address that my order goes to?",
    "The parcel can still be sent elsewhere as long as it has not left our store; the page of the order says so.",
    "Opening hours",
    "A dog runs after a ball along the beach.",
)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth by which to compare answers
class Embedding:
    """The answer to one text: its vector [E], of length 1 where the teacher's are."""

    vector: NDArray[np.float32]


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """No classes: what the numbers of a vector stand for has no name."""
    return LabelSpace(task=NAME, names=NAMES, problem_type="regression")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table: texts without a target, or pairs of texts and their scores.

    Raises:
        DataError: An empty text, a score that is no number, or one of text_pair and score without the other.
    """
    scored = _is_scored(table)
    inputs = texts_or_pairs(table) if scored else texts(table, "text")
    targets = sentence_similarity.read_scores(table) if scored else (None,) * len(table)
    return Examples(inputs=inputs, targets=targets, labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The column text: a user has a vector made of single texts."""
    return texts(table, "text")


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """Every text whole; each text of a pair by itself, in their order."""
    return [Piece(row, text) for row, one in enumerate(inputs) for text in ((one,) if isinstance(one, str) else one)]


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """NaN for each piece, [], float32: nobody but the teacher says what a vector is to be."""
    return list(np.full(len(pieces), np.nan, dtype=np.float32))


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The cosine of every pair, or the vector of every text."""
    return tuple(_prediction(reading) for reading in readings)


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The score of every pair; of every text the vector by which it was answered before."""
    return cast("tuple[Prediction, ...]", examples.targets)


def answers(readings: Readings, labels: LabelSpace) -> list[Embedding]:
    """The vector of every text.

    Raises:
        UsageError: An input is a pair.
    """
    return [_answer(reading) for reading in readings]


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line."""
    return {"embedding": [round(value, 6) for value in cast("Embedding", answer).vector.tolist()]}


def main_metric(examples: Examples) -> str:
    """Spearman where rows have scores; else the cosine with the teacher's vectors."""
    return "spearman" if isinstance(examples.targets[0], float) else "cosine"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """Prediction and reference of each pair, [N, 2]; the cosine of both vectors of each text, [N, 1].

    Raises:
        DataError: A vector has none of its width to be compared with.
    """
    if not _are_vectors(predictions):
        return sentence_similarity.statistics(predictions, references, labels)
    return _cosines(predictions, references)[:, None]


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """How cosines go with scores, by order and in a straight line; or the mean cosine with references."""
    if statistics.shape[1] > 1:
        return sentence_similarity.metrics(statistics, counts)
    sums, total_rows = summed(statistics, counts)
    return {"cosine": float(sums[0] / total_rows)}


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The mean cosine of two models' vectors, or Spearman of their cosines; 1 where they are the same.

    Raises:
        DataError: The models' vectors differ in width.
    """
    if tuple(left) == tuple(right) or not _are_vectors(left):
        return sentence_similarity.agreement(left, right)
    return float(_cosines(left, right).mean())


def _is_scored(table: Table) -> bool:
    there = [name for name in OPTIONAL if name in table.columns]
    if len(there) == 1:
        (lacking,) = set(OPTIONAL) - set(there)
        raise DataError(
            f"{table.source} has the column {there[0]} and no column {lacking}",
            hint=f"name the column in the recipe, as in data.columns: {{{lacking}: NAME}}; or remove {there[0]}",
        )
    return bool(there)


def _prediction(reading: Sequence[Reading]) -> Prediction:
    vectors = [tuple(one.logits.tolist()) for one in reading]
    return vectors[0] if len(vectors) == 1 else float(_cosines(vectors[:1], vectors[1:])[0])


def _answer(reading: Sequence[Reading]) -> Embedding:
    if len(reading) > 1:
        raise UsageError(
            f"{NAME} takes single texts, not a pair such as {[one.piece.input[:60] for one in reading]}",
            hint="give each text by itself",
        )
    return Embedding(reading[0].logits)


def _are_vectors(predictions: Sequence[Prediction]) -> bool:
    return isinstance(predictions[0], tuple)


def _cosines(left: Sequence[Prediction], right: Sequence[Prediction]) -> NDArray[np.float64]:
    """The cosine of each pair of vectors, [N]; 0 where one of them has no direction."""
    first, second = np.array(left, dtype=np.float64), np.array(right, dtype=np.float64)  # [N, E]
    if first.shape != second.shape:
        raise DataError(
            f"vectors of {first.shape[1]} numbers cannot be compared with vectors of {second.shape[1]}",
            hint="compare models whose vectors are of one width",
        )
    products = np.einsum("ne,ne->n", first, second)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths != 0)
    return np.asarray(cosines.clip(-1, 1))
