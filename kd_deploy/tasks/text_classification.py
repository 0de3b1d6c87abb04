"""Text classification: one text or a pair, one label or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.encoding import TextInput

NAME = "text-classification"
REQUIRED = ("text",)
OPTIONAL = ("text_pair", "label", "labels")
SEPARATOR = "|"
MULTI_LABEL_THRESHOLD = 0.5

ProblemType = Literal["single_label_classification", "multi_label_classification"]
Classes = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """The classes, in the order of the logits, and whether an input has one of them or any number."""

    names: tuple[str, ...]
    problem_type: ProblemType

    @property
    def is_multi(self) -> bool:
        """Whether an input may have any number of classes."""
        return self.problem_type == "multi_label_classification"

    @property
    def main_metric(self) -> str:
        """The metric by which students are chosen and judged."""
        return "f1" if self.is_multi else "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Inputs with the ids of their classes: exactly one each, or any number."""

    inputs: tuple[TextInput, ...]
    targets: tuple[Classes, ...]
    labels: LabelSpace
    source: str
    sha256: str

    def __len__(self) -> int:
        return len(self.inputs)


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
    rows = _label_rows(table)
    seen = {name for row in rows for name in row}
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
    return LabelSpace(names=names, problem_type=problem)


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table as inputs and class ids.

    Raises:
        DataError: An empty text, a null label or a label that training never saw; the line is named.
    """
    inputs = tuple(_input(table, row) for row in range(len(table)))
    ids = {name: index for index, name in enumerate(labels.names)}
    digits = {str(index): index for index in range(len(labels.names))}
    # Numbers stand for places only where no class has a number for its name.
    named = any(name.isdecimal() for name in ids) or set(ids) & set(_flat(_label_rows(table)))
    known = ids if named else digits
    targets = []
    for row, names in enumerate(_label_rows(table)):
        unseen = [name for name in names if name not in known]
        if unseen:
            raise DataError(
                f"{table.place(row)}: label {unseen[0]!r} is not one of the classes {_few(labels.names)}",
                hint="correct the row, or add rows with this label to the training data",
            )
        targets.append(tuple(sorted(known[name] for name in names)))
    return Examples(inputs=inputs, targets=tuple(targets), labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The texts, or pairs of texts, of a table whose labels do not matter."""
    return tuple(_input(table, row) for row in range(len(table)))


def predicted_classes(logits: NDArray[np.float32], labels: LabelSpace) -> tuple[Classes, ...]:
    """The class ids that logits [N, C] stand for: the largest, or all above one half."""
    if labels.is_multi:
        return tuple(tuple(int(k) for k in np.flatnonzero(row > 0)) for row in logits)
    return tuple((int(k),) for k in logits.argmax(axis=-1))


def answer(logits: NDArray[np.float32], labels: LabelSpace) -> Classification:
    """The answer that one row of logits [C] stands for."""
    probabilities = _sigmoid(logits) if labels.is_multi else _softmax(logits)
    values = probabilities.tolist()
    scores = dict(zip(labels.names, values, strict=True))
    if labels.is_multi:
        chosen = tuple(name for name, value in scores.items() if value > MULTI_LABEL_THRESHOLD)
        return Classification(label=None, labels=chosen, score=max(values), scores=scores)
    best = int(probabilities.argmax())
    return Classification(labels.names[best], (labels.names[best],), values[best], scores)


def score(predictions: Sequence[Classes], references: Sequence[Classes], *, class_count: int) -> dict[str, float]:
    """Accuracy (all classes of a row right), and F1 over all decisions and as a mean over classes.

    `f1` counts true positives over all classes together (micro); `macro_f1` is the mean over the classes
    that occur in either sequence.
    """
    predicted = indicator(predictions, class_count)  # [N, C]
    actual = indicator(references, class_count)  # [N, C]
    hits = (predicted & actual).sum(axis=0)
    total = predicted.sum(axis=0) + actual.sum(axis=0)
    occurs = total > 0
    return {
        "accuracy": float((predicted == actual).all(axis=1).mean()),
        "f1": float(2 * hits.sum() / max(1, total.sum())),
        "macro_f1": float((2 * hits[occurs] / total[occurs]).mean()) if occurs.any() else 0.0,
    }


def indicator(classes: Sequence[Classes], class_count: int) -> NDArray[np.bool_]:
    """Which classes each row has, [N, C]."""
    out = np.zeros((len(classes), class_count), dtype=bool)
    for row, ids in enumerate(classes):
        out[row, list(ids)] = True
    return out


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(raised / raised.sum())


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))


def _input(table: Table, row: int) -> TextInput:
    text = _text(table, "text", row)
    return (text, _text(table, "text_pair", row)) if "text_pair" in table.columns else text


def _text(table: Table, column: str, row: int) -> str:
    value = table.columns[column][row]
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{table.place(row)}: {column} is {kind}, not a text", hint="correct or remove the row")
    if not value.strip():
        raise DataError(f"{table.place(row)}: {column} is empty", hint="correct or remove the row")
    return value


def _label_rows(table: Table) -> list[tuple[str, ...]]:
    if "labels" in table.columns:
        return [_several(table, row) for row in range(len(table))]
    if "label" in table.columns:
        return [(_label(table, table.columns["label"][row], row),) for row in range(len(table))]
    raise DataError(
        f"{table.source} has no column label (one class) or labels (several classes)",
        hint="name the column in the recipe, as in data.columns: {label: sentiment}",
    )


def _several(table: Table, row: int) -> tuple[str, ...]:
    value = table.columns["labels"][row]
    if isinstance(value, str):
        value = [part for part in value.split(SEPARATOR) if part]
    if not isinstance(value, list | tuple | np.ndarray):
        raise DataError(
            f"{table.place(row)}: labels is {value!r}, not a list of classes",
            hint=f"write a JSON list, or names joined by {SEPARATOR}",
        )
    return tuple(dict.fromkeys(_label(table, one, row) for one in value))


def _label(table: Table, value: object, row: int) -> str:
    if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN is the one value unlike itself
        raise DataError(f"{table.place(row)}: label is null", hint="correct or remove the row")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, str | bool | int | np.integer):
        return str(value)
    raise DataError(f"{table.place(row)}: label {value!r} is not the name of a class", hint="correct the row")


def _ordered(names: set[str]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _match_teacher(table: Table, seen: set[str], teacher: tuple[str, ...]) -> tuple[str, ...]:
    by_number = all(name.isdecimal() and int(name) < len(teacher) for name in seen)
    if seen <= set(teacher) or by_number:
        return teacher
    strange = sorted(seen - set(teacher))
    raise DataError(
        f"{table.source} has the label {strange[0]!r}, and the teacher's classes are {_few(teacher)}",
        hint="rename the labels to the teacher's, or add teacher.finetune to teach it yours",
    )


def _few(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _flat(rows: Sequence[Sequence[str]]) -> list[str]:
    return [name for row in rows for name in row]
