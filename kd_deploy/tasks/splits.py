"""The rows of a recipe as examples: train, validation, test, and the classes they share."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kd_deploy.data.reading import read_table
from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, RecipeError
from kd_deploy.recipe import TaskData
from kd_deploy.recipe.data import Unlabeled
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.task import Examples, LabelSpace, Target, Task

HELD_BACK = 0.1
# After a full stop and its like, closing quotation marks included; at a line's end, in HTML too.
SENTENCE_END = re.compile(r"""(?<=[.!?…])\s+|(?<=[.!?…]["')\]])\s+|(?<=[。！？])|\n+|<br\s*/?>""")


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


def read_splits(data: TaskData, *, task: Task, teacher: tuple[str, ...] = ()) -> Splits:
    """Read all splits; a tenth of train is held back where validation is left out.

    Args:
        data: The data section of a recipe.
        task: What the rows are for.
        teacher: Classes that the teacher has learned already; empty where it is yet to learn them.

    Raises:
        RecipeError: The recipe names no training data.
        DataError: Anything wrong in a file, with its place.
    """
    if data.train is None:
        raise RecipeError("data.train: missing", hint="name a training file in the recipe, or kd-deploy init")
    table = read(data, data.train, task=task, split="train")
    labels = task.find_labels(table, teacher=teacher)
    train = _limited(task.read_examples(table, labels), data.train_limit, seed=data.seed)
    test = task.read_examples(read(data, data.test, task=task, split="test"), labels) if data.test else None
    if data.split is not None:
        train, validation, test = _three(train, data.split, seed=data.seed)
    elif data.validation is None:
        train, validation = _hold_back(train, share=HELD_BACK, seed=data.seed)
    else:
        validation = task.read_examples(read(data, data.validation, task=task, split="validation"), labels)
    return Splits(train=train, validation=validation, test=test, unlabeled=_read_unlabeled(data, train, task=task))


def _read_unlabeled(data: TaskData, train: Examples, *, task: Task) -> tuple[TextInput, ...]:
    found: list[TextInput] = []
    for one in data.unlabeled:
        own = one if isinstance(one, Unlabeled) else None
        source = own.source if own else str(one)
        columns = {_single(task): own.column} if own else data.columns
        inputs = read_inputs(source, columns=columns, task=task, split="train")
        if task.ANSWERS != "vector" and isinstance(inputs[0], str) != isinstance(train.inputs[0], str):
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


def _single(task: Task) -> str:
    """The one column that a task reads."""
    if len(task.INPUTS) > 1:
        raise RecipeError(
            f"data.unlabeled: column names one column, and {task.NAME} reads {' and '.join(task.INPUTS)}",
            hint="give the file alone, and name its columns in data.columns",
        )
    return task.INPUTS[0] if task.INPUTS else "text"


def _sentences(inputs: Sequence[TextInput], source: str) -> list[TextInput]:
    if not isinstance(inputs[0], str):
        raise DataError(
            f"{source} has pairs of texts, and data.unlabeled_as is sentences", hint="set unlabeled_as: texts"
        )
    parts = [part.strip() for text in inputs for part in SENTENCE_END.split(str(text))]
    return [part for part in parts if any(character.isalnum() for character in part)]


def read(data: TaskData, source: str, *, task: Task, split: str) -> Table:
    """One source of a recipe as a table under the task's column names.

    Raises:
        RecipeError: data.columns names a column that the task does not have.
        DataError: Anything wrong in the file.
    """
    check_columns(data.columns, task=task)
    return read_table(source, columns=data.columns, required=task.REQUIRED, optional=task.OPTIONAL, split=split)


def read_inputs(source: str, *, columns: Mapping[str, str], task: Task, split: str) -> tuple[TextInput, ...]:
    """The inputs of a source whose rows need no labels.

    Raises:
        RecipeError: `columns` names a column that the task does not have.
        DataError: Anything wrong in the file.
    """
    check_columns(columns, task=task)
    others = tuple(name for name in (*task.REQUIRED, *task.OPTIONAL) if name not in task.INPUTS)
    return task.read_inputs(read_table(source, columns=columns, required=task.INPUTS, optional=others, split=split))


def check_columns(columns: Mapping[str, str], *, task: Task) -> None:
    """Refuse the name of a column that the task does not have.

    Raises:
        RecipeError: With the names that it has.
    """
    known = (*task.REQUIRED, *task.OPTIONAL)
    strange = sorted(set(columns) - set(known))
    if strange:
        raise RecipeError(
            f"data.columns.{strange[0]}: {task.NAME} has no such column", hint=f"it has: {', '.join(known)}"
        )


def _limited(examples: Examples, limit: int | None, *, seed: int) -> Examples:
    if limit is None or len(examples) <= limit:
        return examples
    return examples.some(sorted(random.Random(seed).sample(range(len(examples)), limit)))  # noqa: S311 - no secret


def _three(examples: Examples, shares: tuple[float, float, float], *, seed: int) -> tuple[Examples, Examples, Examples]:
    _, validation, test = shares
    rest, judged = _hold_back(examples, share=test, seed=seed)
    kept, chosen_by = _hold_back(rest, share=validation / (1 - test), seed=seed)
    return kept, chosen_by, judged


def _hold_back(examples: Examples, *, share: float, seed: int) -> tuple[Examples, Examples]:
    """A share of the rows apart, with each class in its share."""
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a split, not a secret
    order.sort(key=lambda row: _stratum(examples.targets[row]))
    count = round(len(order) * share)
    if count == 0:
        raise DataError(
            f"{examples.source} has {len(order)} rows: too few to hold some back for validation",
            hint="add rows, or name a file in data.validation",
        )
    held = {order[int((place + 0.5) * len(order) / count)] for place in range(count)}
    kept = [row for row in range(len(order)) if row not in held]
    return examples.some(kept), examples.some(sorted(held))


def _stratum(target: Target) -> tuple[float, ...]:
    """By what rows are alike: their classes, or their number; by nothing else."""
    if isinstance(target, tuple):
        return cast("tuple[float, ...]", target)
    return (target,) if isinstance(target, float) else ()
