"""What all tasks have in common: their nouns, and what the module of a task must have to be one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.data.table import Table
from kd_deploy.manifest import ProblemType
from kd_deploy.measurement import Prediction
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.writing import Written

Level = Literal["text", "token", "span"]
Answers = Literal["classes", "number", "vector"]
Classes = tuple[int, ...]

__all__ = [
    "NO_DECISION",
    "UNKNOWN",
    "Accepted",
    "Answers",
    "Classes",
    "Examples",
    "Hidden",
    "LabelSpace",
    "Level",
    "Piece",
    "Prediction",
    "ProblemType",
    "Reading",
    "Readings",
    "Tagged",
    "Target",
    "Task",
]

UNKNOWN = -1  # the aim of a decision whose label nobody gave
NO_DECISION = -2  # the aim where nothing is to be decided: a special token, padding


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """What the answers to a task may be: its classes, in the order of the logits, and how many an input has."""

    names: tuple[str, ...]
    problem_type: ProblemType
    task: str = "text-classification"

    @property
    def is_multi(self) -> bool:
        """Whether an input may have any number of classes."""
        return self.problem_type == "multi_label_classification"


@dataclass(frozen=True, slots=True)
class Tagged:
    """The words of a text, as places of characters, and the class of each."""

    words: tuple[tuple[int, int], ...]
    tags: Classes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The texts that are right answers, and where each begins in the context; none: there is no answer."""

    texts: tuple[str, ...]
    starts: tuple[int, ...]


# What one input is to be answered with; None: nobody said.
Target = Tagged | Accepted | Prediction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Inputs, and what each is to be answered with, as the task's module reads and understands it."""

    inputs: tuple[TextInput, ...]
    targets: tuple[Target, ...]
    labels: LabelSpace
    source: str
    sha256: str

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def answered(self) -> bool:
        """Whether it is known what the inputs are to be answered with; else a teacher has to say it first."""
        return all(target is not None for target in self.targets)

    def answered_by(self, predictions: Sequence[Prediction]) -> Self:
        """The same inputs, to be answered as somebody else did; as they are where the answers are known."""
        return self if self.answered else replace(self, targets=tuple(predictions))

    def in_parts(self, size: int) -> list[Self]:
        """All rows in their order, so many at a time."""
        return [self.some(range(begin, min(begin + size, len(self)))) for begin in range(0, len(self), size)]

    def some(self, rows: Sequence[int]) -> Self:
        """These rows alone, in this order."""
        inputs, targets = tuple(self.inputs[row] for row in rows), tuple(self.targets[row] for row in rows)
        return replace(self, inputs=inputs, targets=targets)


@dataclass(frozen=True, slots=True)
class Hidden:
    """The tokens that a model is to fill in: their places, their ids (UNKNOWN: the user hid them), and their names."""

    places: tuple[int, ...]
    ids: tuple[int, ...]
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """As much of an input as a model reads at once: the number of the input, and where in its text the piece begins.

    `start` counts characters of the text, or of the second text of a pair.
    """

    row: int
    input: TextInput
    start: int = 0
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model showed of one piece: logits [C] of its text, or [S, C] of its tokens, without padding.

    Where tokens are hidden, the logits are theirs alone. A model that writes a text shows what it wrote instead.
    """

    piece: Piece
    encoded: Encoded
    logits: NDArray[np.float32]
    written: Written | None = None


Readings = Sequence[Sequence[Reading]]  # of every input, those of its pieces


class Task(Protocol):
    """A task's module: how its rows are read, its inputs cut, its answers decoded and scored."""

    @property
    def NAME(self) -> str:  # noqa: N802 - constants of a module
        """As recipes call it."""

    @property
    def REQUIRED(self) -> tuple[str, ...]:  # noqa: N802
        """Columns that rows with an answer have."""

    @property
    def OPTIONAL(self) -> tuple[str, ...]:  # noqa: N802
        """Columns that they may have."""

    @property
    def INPUTS(self) -> tuple[str, ...]:  # noqa: N802
        """Columns that a row without an answer has."""

    @property
    def LEVEL(self) -> Level:  # noqa: N802
        """What is decided: one thing about the text, one about each token, or which token."""

    @property
    def OUTPUTS(self) -> tuple[str, ...]:  # noqa: N802
        """What a graph calls the logits; several stand side by side."""

    @property
    def ANSWERS(self) -> Answers:  # noqa: N802
        """What the logits of a decision are: one for each class, a number, or a vector."""

    @property
    def NAMES(self) -> tuple[str, ...] | None:  # noqa: N802
        """What the logits are called where that is always the same; None: the data name them."""

    @property
    def HEAD(self) -> str:  # noqa: N802
        """What the classes of transformers that answer this task are called after their family; empty: Model."""

    @property
    def LIMIT(self) -> str:  # noqa: N802
        """What a model of this task cannot do, as its card says it."""

    @property
    def SAMPLE(self) -> tuple[TextInput, ...]:  # noqa: N802
        """A few inputs to measure times by, where a user gives none."""

    def find_labels(self, table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
        """What answers may be, by training rows; in the order of the teacher's logits where it has learned them."""

    def read_examples(self, table: Table, labels: LabelSpace) -> Examples:
        """The rows of a table as inputs and targets."""

    def read_inputs(self, table: Table) -> tuple[TextInput, ...]:
        """The inputs of a table whose labels do not matter."""

    def pieces(self, inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
        """The inputs, each in as many pieces as the model has to read, in their order."""

    def aims(
        self, examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
    ) -> Sequence[NDArray[np.generic]]:
        """What a model in training is to say of each piece; pieces of rows beyond the examples have no label."""

    def predictions(self, readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
        """What is scored of the readings of all examples."""

    def references(self, examples: Examples) -> tuple[Prediction, ...]:
        """What predictions are scored against."""

    def answers(self, readings: Readings, labels: LabelSpace) -> Sequence[object]:
        """What a user gets, an answer for each input."""

    def to_json(self, answer: object, labels: LabelSpace) -> dict[str, object]:
        """An answer as its JSON line."""

    def main_metric(self, examples: Examples) -> str:
        """The metric by which students are chosen and judged."""

    def statistics(
        self, predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
    ) -> NDArray[np.float64]:
        """What each row adds to the metrics, [N, K]."""

    def metrics(self, statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
        """The metrics of rows [N, K], each counted so many times [N]; None: once."""

    def agreement(self, left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
        """How alike two models answer the same rows; 1 where they answer the same."""
