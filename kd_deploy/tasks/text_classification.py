"""Text classification: one text or a pair, one label or several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.columns import few, label_rows, texts_or_pairs
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.pieces import stacked, whole
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.task import (
    UNKNOWN,
    Answers,
    Classes,
    Examples,
    LabelSpace,
    Level,
    Piece,
    Prediction,
    ProblemType,
    Readings,
)

NAME = "text-classification"
LEVEL: Level = "text"
ANSWERS: Answers = "classes"
OUTPUTS = ("logits",)
NAMES = None  # the data give them
HEAD = "ForSequenceClassification"
LIMIT = "It sees nothing but its classes in any text, whatever the text is about."
REQUIRED = ("text",)
OPTIONAL = ("text_pair", "label", "labels")
INPUTS = ("text",)
MULTI_LABEL_THRESHOLD = 0.5
SAMPLE = (
    "The delivery was quick and the box was whole.",
    "I have been waiting for an answer for two weeks, and nobody at the desk knows where my order is.",
    "Fine.",
    "It does what it says, although the manual could be clearer about how to change the settings of the timer.",
)


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one input: its label or labels, and the probability of every class."""

    label: str | None
    labels: tuple[str, ...]
    score: float
    scores: dict[str, float]


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """The classes of a training table, in the teacher's order where it has been taught already.

    Args:
        table: Training rows.
        teacher: Class names of the teacher, in the order of its logits; empty where it is yet to learn them.

    Raises:
        DataError: No label column, a null label, one class only, or classes that the teacher does not have.
    """
    seen = {name for row in label_rows(table) for name in row}
    multi = "labels" in table.columns
    problem: ProblemType = "multi_label_classification" if multi else "single_label_classification"
    names = _match_teacher(table, seen, teacher) if teacher else table.label_names or _ordered(seen)
    if not names:
        raise DataError(f"{table.source} has no class at all", hint="give training data with labels")
    if len(names) < 2 and not multi:  # noqa: PLR2004
        raise DataError(
            f"{table.source} has a single class, {next(iter(seen))!r}: there is nothing to tell apart",
            hint="give training data with at least two classes",
        )
    return LabelSpace(task=NAME, names=names, problem_type=problem)


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table as inputs and class ids.

    Raises:
        DataError: An empty text, a null label or a label that training never saw; the line is named.
    """
    inputs = texts_or_pairs(table)
    ids = {name: index for index, name in enumerate(labels.names)}
    digits = {str(index): index for index in range(len(labels.names))}
    # Numbers stand for places only where no class has a number for its name.
    named = any(name.isdecimal() for name in ids) or set(ids) & {name for row in label_rows(table) for name in row}
    known = ids if named else digits
    targets = []
    for row, names in enumerate(label_rows(table)):
        if len(names) != 1 and not labels.is_multi:
            raise DataError(
                f"{table.place(row)}: there are {len(names)} classes, and the model gives one to each text",
                hint="give each row one label, or train on rows with several labels",
            )
        unseen = [name for name in names if name not in known]
        if unseen:
            raise DataError(
                f"{table.place(row)}: label {unseen[0]!r} is not one of the classes {few(labels.names)}",
                hint="correct the row, or add rows with this label to the training data",
            )
        targets.append(tuple(sorted(known[name] for name in names)))
    return Examples(inputs=inputs, targets=tuple(targets), labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The texts, or pairs of texts, of a table whose labels do not matter."""
    return texts_or_pairs(table)


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """Every input whole: what is too long is cut."""
    return whole(inputs)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """Class ids [], or an indicator [C] where a text may have several; UNKNOWN for texts without a label."""
    targets, count = cast("Sequence[Classes]", examples.targets), len(examples.labels.names)
    if not examples.labels.is_multi:
        ids = np.full(len(pieces), UNKNOWN, dtype=np.int64)
        ids[: len(targets)] = [target[0] for target in targets]
        return list(ids)
    out = np.full((len(pieces), count), UNKNOWN, dtype=np.float32)
    out[: len(targets)] = indicator(targets, count)
    return list(out)


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The class ids of every input."""
    return predicted_classes(stacked(readings), examples.labels)


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The class ids of every example."""
    return cast("tuple[Classes, ...]", examples.targets)


def predicted_classes(logits: NDArray[np.float32], labels: LabelSpace) -> tuple[Classes, ...]:
    """The class ids that logits [N, C] stand for: the largest, or all above one half."""
    if labels.is_multi:
        return tuple(tuple(int(k) for k in np.flatnonzero(row > 0)) for row in logits)
    return tuple((int(k),) for k in logits.argmax(axis=-1))


def answers(readings: Readings, labels: LabelSpace) -> list[Classification]:
    """The answer to every input."""
    return [answer(reading[0].logits, labels) for reading in readings]


def answer(logits: NDArray[np.float32], labels: LabelSpace) -> Classification:
    """The answer that one row of logits [C] stands for."""
    values = _sigmoid(logits.tolist()) if labels.is_multi else _softmax(logits.tolist())
    scores = dict(zip(labels.names, values, strict=True))
    if labels.is_multi:
        chosen = tuple(name for name, value in scores.items() if value > MULTI_LABEL_THRESHOLD)
        return Classification(label=None, labels=chosen, score=max(values), scores=scores)
    best = values.index(max(values))
    return Classification(labels.names[best], (labels.names[best],), values[best], scores)


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line: the label or labels, and the probability of every class."""
    given = cast("Classification", answer)
    scores = {name: round(value, 6) for name, value in given.scores.items()}
    if labels.is_multi:
        return {"labels": list(given.labels), "scores": scores}
    return {"label": given.label, "score": round(given.score, 6), "scores": scores}


def main_metric(examples: Examples) -> str:
    """F1 where an input may have several classes, else accuracy."""
    return "f1" if examples.labels.is_multi else "accuracy"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """Whether all of a row is right; then for each class hits, and answers and labels together: [N, 1 + 2C]."""
    count = len(labels.names)
    predicted = indicator(cast("Sequence[Classes]", predictions), count)  # [N, C]
    actual = indicator(cast("Sequence[Classes]", references), count)  # [N, C]
    right = (predicted == actual).all(axis=1)
    return np.column_stack([right, predicted & actual, predicted.astype(np.int64) + actual]).astype(np.float64)


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Accuracy (all classes of a row right), and F1 over all decisions and as a mean over classes.

    `f1` counts true positives over all classes together (micro); `macro_f1` is the mean over the classes
    that occur in either sequence.
    """
    sums, total_rows = summed(statistics, counts)
    hits, total = np.split(sums[1:], 2)
    occurs = total > 0
    return {
        "accuracy": float(sums[0] / total_rows),
        "f1": float(2 * hits.sum() / max(1, total.sum())),
        "macro_f1": float((2 * hits[occurs] / total[occurs]).mean()) if occurs.any() else 0.0,
    }


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of rows with the same answer."""
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def indicator(classes: Sequence[Classes], class_count: int) -> NDArray[np.bool_]:
    """Which classes each row has, [N, C]."""
    out = np.zeros((len(classes), class_count), dtype=bool)
    for row, ids in enumerate(classes):
        out[row, list(ids)] = True
    return out


# A row has few classes: numpy would take longer to be called than these to count.
def _softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    raised = [math.exp(one - highest) for one in logits]
    total = sum(raised)
    return [one / total for one in raised]


def _sigmoid(logits: Sequence[float]) -> list[float]:
    return [0.5 * (1 + math.tanh(one / 2)) for one in logits]


def _ordered(names: set[str]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _match_teacher(table: Table, seen: set[str], teacher: tuple[str, ...]) -> tuple[str, ...]:
    by_number = all(name.isdecimal() and int(name) < len(teacher) for name in seen)
    if seen <= set(teacher) or by_number:
        return teacher
    strange = sorted(seen - set(teacher))
    raise DataError(
        f"{table.source} has the label {strange[0]!r}, and the teacher's classes are {few(teacher)}",
        hint="rename the labels to the teacher's, or add teacher.finetune to teach it yours",
    )
