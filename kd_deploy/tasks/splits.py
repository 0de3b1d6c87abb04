"""The rows of a recipe as examples: train, validation, test, and the classes they share."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kd_deploy.data.reading import read_table
from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, RecipeError
from kd_deploy.recipe import TaskData
from kd_deploy.recipe.data import Unlabeled
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.text_classification import (
    OPTIONAL,
    REQUIRED,
    Examples,
    LabelSpace,
    find_labels,
    read_examples,
    read_inputs,
)

HELD_BACK = 0.1
# After a full stop and its like, closing quotation marks included; at a line's end, in HTML too.
SENTENCE_END = re.compile(r"""(?<=[.!?…])\s+|(?<=[.!?…]["')\]])\s+|(?<=[。！？])|\n+|<br\s*/?>""")
COLUMNS = (*REQUIRED, *OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Examples to learn from, to choose by, and to be judged on once."""

    train: Examples
    validation: Examples
    test: Examples | None
    unlabeled: tuple[TextInput, ...] = ()

    @property
    def labels(self) -> LabelSpace:
        """The classes, in the order of the logits."""
        return self.train.labels


def read_splits(data: TaskData, *, teacher: tuple[str, ...] = ()) -> Splits:
    """Read all splits; a tenth of train is held back where validation is left out.

    Args:
        data: The data section of a recipe.
        teacher: Classes that the teacher has learned already; empty where it is yet to learn them.

    Raises:
        RecipeError: The recipe names no training data.
        DataError: Anything wrong in a file, with its place.
    """
    if data.train is None:
        raise RecipeError("data.train: missing", hint="name a training file in the recipe, or kd-deploy init")
    table = read(data, data.train, split="train")
    labels = find_labels(table, teacher=teacher)
    train = read_examples(table, labels)
    if data.validation is None:
        train, validation = _hold_back(train, seed=data.seed)
    else:
        validation = read_examples(read(data, data.validation, split="validation"), labels)
    test = read_examples(read(data, data.test, split="test"), labels) if data.test else None
    return Splits(train=train, validation=validation, test=test, unlabeled=_read_unlabeled(data, train))


def _read_unlabeled(data: TaskData, train: Examples) -> tuple[TextInput, ...]:
    found: list[TextInput] = []
    for one in data.unlabeled:
        own = one if isinstance(one, Unlabeled) else None
        source = own.source if own else str(one)
        columns = {"text": own.column} if own else data.columns
        table = read_table(source, columns=columns, required=REQUIRED, optional=OPTIONAL, split="train")
        inputs = read_inputs(table)
        if isinstance(inputs[0], str) != isinstance(train.inputs[0], str):
            kinds = {True: "single texts", False: "pairs of texts"}
            raise DataError(
                f"{source} has {kinds[isinstance(inputs[0], str)]}, "
                f"{train.source} has {kinds[isinstance(train.inputs[0], str)]}",
                hint="give unlabeled texts of the same form",
            )
        found += _sentences(inputs, source) if data.unlabeled_as == "sentences" else inputs
    found = list(dict.fromkeys(found))
    if data.unlabeled_limit is None or len(found) <= data.unlabeled_limit:
        return tuple(found)
    return tuple(random.Random(data.seed).sample(found, data.unlabeled_limit))  # noqa: S311 - a draw, not a secret


def _sentences(inputs: Sequence[TextInput], source: str) -> list[TextInput]:
    if not isinstance(inputs[0], str):
        raise DataError(
            f"{source} has pairs of texts, and data.unlabeled_as is sentences", hint="set unlabeled_as: texts"
        )
    parts = [part.strip() for text in inputs for part in SENTENCE_END.split(str(text))]
    return [part for part in parts if any(character.isalnum() for character in part)]


def read(data: TaskData, source: str, *, split: str) -> Table:
    """One source of a recipe as a table under the task's column names.

    Raises:
        RecipeError: data.columns names a column that the task does not have.
        DataError: Anything wrong in the file.
    """
    strange = sorted(set(data.columns) - set(COLUMNS))
    if strange:
        raise RecipeError(
            f"data.columns.{strange[0]}: text-classification has no such column", hint=f"it has: {', '.join(COLUMNS)}"
        )
    return read_table(source, columns=data.columns, required=REQUIRED, optional=OPTIONAL, split=split)


def _hold_back(examples: Examples, *, seed: int) -> tuple[Examples, Examples]:
    """A tenth of the rows apart, with each class in its share."""
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a split, not a secret
    order.sort(key=lambda row: examples.targets[row])
    count = round(len(order) * HELD_BACK)
    if count == 0:
        raise DataError(
            f"{examples.source} has {len(order)} rows: too few to hold some back for validation",
            hint="add rows, or name a file in data.validation",
        )
    held = {order[int((place + 0.5) * len(order) / count)] for place in range(count)}
    kept = [row for row in range(len(order)) if row not in held]
    return _rows(examples, kept), _rows(examples, sorted(held))


def _rows(examples: Examples, rows: list[int]) -> Examples:
    return replace(
        examples,
        inputs=tuple(examples.inputs[row] for row in rows),
        targets=tuple(examples.targets[row] for row in rows),
    )
