"""The rows of a recipe as examples: train, validation, test, and the classes they share."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from kd_deploy import progress
from kd_deploy.data.reading import read_table
from kd_deploy.data.table import Table
from kd_deploy.data.wanted import REMEDY
from kd_deploy.errors import DataError, RecipeError, UsageError
from kd_deploy.files import sha256_text
from kd_deploy.recipe import TaskData
from kd_deploy.recipe.data import Unlabeled
from kd_deploy.tasks import question_answering
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.sentences import sentences_in, sentences_of
from kd_deploy.tasks.task import Examples, LabelSpace, Target, Task

HELD_BACK = 0.1
# Columns that say the same in another form: one that data.columns names is what is meant, whatever else is there.
INSTEAD = {"labels": {"label"}, "answers": {"answer", "start"}}
MOST_VECTORS = 2000  # texts without scores to be judged by: whole vectors are compared, and more would say no more
NAME_A_FILE = "add rows, or name a file in data.validation"
OF_ONE_COLUMN = "write {{source: {source}, column: {name}}} for it in data.unlabeled"
RAISE_THE_SHARE = "raise its share in data.split, or add rows"


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

    @property
    def learned_from(self) -> list[str]:
        """The hashes of all rows but those of test."""
        return [self.train.sha256, self.validation.sha256, sha256_text(json.dumps(self.unlabeled))]


def read_splits(data: TaskData, *, task: Task, teacher: tuple[str, ...] = ()) -> Splits:
    """Read all splits; a tenth of train is held back where validation is left out, of texts without scores 2,000.

    Args:
        data: The data section of a recipe.
        task: What the rows are for.
        teacher: Classes that the teacher has learned already; empty where it is yet to learn them.

    Raises:
        RecipeError: The recipe names no training data, or a column that the task does not have.
        DataError: Anything wrong in a file, with its place.
    """
    if data.train is None:
        raise RecipeError("data.train: missing", hint="name a training file in the recipe, or kd-deploy init")
    check_columns(data.columns, task=task, in_recipe=True)
    table = read(data, data.train, task=task, split="train")
    labels = task.find_labels(table, teacher=teacher)
    train = _limited(task.read_examples(table, labels), data.train_limit, seed=data.seed)
    test = task.read_examples(read(data, data.test, task=task, split="test"), labels) if data.test else None
    if data.split is not None:
        train, validation, test = _three(train, data.split, seed=data.seed)
    elif data.validation is None:
        share = HELD_BACK if train.answered else min(HELD_BACK, MOST_VECTORS / len(train))
        train, validation = _hold_back(train, share=share, seed=data.seed)
    else:
        validation = task.read_examples(read(data, data.validation, task=task, split="validation"), labels)
    for other in (validation, *((test,) if test else ())):
        _require_one_form(other.inputs, train, source=other.source, task=task)
    judged = (*validation.inputs, *(test.inputs if test else ()))
    unlabeled = _read_unlabeled(data, train, task=task, judged=judged)
    return Splits(train=train, validation=validation, test=test, unlabeled=unlabeled)


def _read_unlabeled(
    data: TaskData, train: Examples, *, task: Task, judged: Sequence[TextInput]
) -> tuple[TextInput, ...]:
    """The texts without labels, each once; one by which a student is judged is none to learn from."""
    cut = data.unlabeled_as == "sentences"
    held_back = {part for one in judged for part in _parts(one, task=task, cut=cut)}
    found: list[TextInput] = []
    for one in data.unlabeled:
        own = one if isinstance(one, Unlabeled) else None
        source = own.source if own else str(one)
        columns = {_single(task): own.column} if own else data.columns
        remedy = OF_ONE_COLUMN if len(task.INPUTS) == 1 else REMEDY
        inputs = read_inputs(source, columns=columns, task=task, split="train", remedy=remedy)
        _require_one_form(inputs, train, source=source, task=task)
        found += sentences_of(inputs, source) if cut else inputs
    distinct = dict.fromkeys(found)
    found = [one for one in distinct if held_back.isdisjoint(_parts(one, task=task))]
    if len(found) < len(distinct):
        left_out = len(distinct) - len(found)
        progress.say(f"data.unlabeled: {left_out} of {len(distinct)} texts stand in validation or test: left out")
    if data.unlabeled_limit is None or len(found) <= data.unlabeled_limit:
        return tuple(found)
    return tuple(random.Random(data.seed).sample(found, data.unlabeled_limit))  # noqa: S311 - a draw, not a secret


def _require_one_form(inputs: Sequence[TextInput], train: Examples, *, source: str, task: Task) -> None:
    """Refuse pairs of texts beside single ones."""
    if task.ANSWERS != "vector" and isinstance(inputs[0], str) != isinstance(train.inputs[0], str):
        kinds = {True: "single texts", False: "pairs of texts"}
        raise DataError(
            f"{source} has {kinds[isinstance(inputs[0], str)]}, "
            f"{train.source} has {kinds[isinstance(train.inputs[0], str)]}",
            hint="give texts of the same form",
        )


def _single(task: Task) -> str:
    """The one column that a task reads."""
    if len(task.INPUTS) > 1:
        raise RecipeError(
            f"data.unlabeled: column names one column, and {task.NAME} reads {' and '.join(task.INPUTS)}",
            hint="give the file alone, and name its columns in data.columns",
        )
    return task.INPUTS[0] if task.INPUTS else "text"


def _parts(one: TextInput, *, task: Task, cut: bool = False) -> list[TextInput]:
    """The texts of an input that it is the same to have learned from; with their sentences, where these are cut out."""
    if task.ANSWERS == "vector" and not isinstance(one, str):
        whole: list[TextInput] = list(one)
    else:
        whole = [text_of(one, task=task.NAME)]
    return [*whole, *(part for text in whole if cut for part in sentences_in(str(text)))]


def read(data: TaskData, source: str, *, task: Task, split: str) -> Table:
    """One source as a table under the task's column names.

    Raises:
        UsageError: --columns names a column that the task does not have.
        DataError: Anything wrong in the file.
    """
    check_columns(data.columns, task=task)
    meant = data.columns.keys()
    optional = tuple(name for name in task.OPTIONAL if name in meant or meant.isdisjoint(INSTEAD.get(name, ())))
    table = read_table(source, columns=data.columns, required=task.REQUIRED, optional=optional, split=split)
    for column, name in data.columns.items():
        # Of vectors some files have texts alone, and others pairs with scores.
        if column not in table.columns and task.ANSWERS != "vector":
            raise DataError(
                f"{source} has no column {name!r}, which data.columns names as the task's {column!r}",
                hint=f"correct data.columns.{column} (--columns {column}=NAME), or leave it out",
            )
    return table


def read_inputs(
    source: str, *, columns: Mapping[str, str], task: Task, split: str, remedy: str = REMEDY
) -> tuple[TextInput, ...]:
    """The inputs of a source whose rows need no labels; `remedy` as for `read_table`.

    Raises:
        UsageError: --columns names a column that the task does not have.
        DataError: Anything wrong in the file.
    """
    check_columns(columns, task=task)
    others = tuple(name for name in (*task.REQUIRED, *task.OPTIONAL) if name not in task.INPUTS)
    table = read_table(source, columns=columns, required=task.INPUTS, optional=others, split=split, remedy=remedy)
    return task.read_inputs(table)


def check_columns(columns: Mapping[str, str], *, task: Task, in_recipe: bool = False) -> None:
    """Refuse the name of a column that the task does not have, with the names that it has.

    Raises:
        RecipeError: The recipe's data.columns has it.
        UsageError: --columns has it.
    """
    known = (*task.REQUIRED, *task.OPTIONAL)
    strange = sorted(set(columns) - set(known))
    if strange:
        what, hint = f"{strange[0]}: {task.NAME} has no such column", f"it has: {', '.join(known)}"
        if in_recipe:
            raise RecipeError(f"data.columns.{what}", hint=hint)
        raise UsageError(f"--columns {what}", hint=hint)


def _limited(examples: Examples, limit: int | None, *, seed: int) -> Examples:
    if limit is None or len(examples) <= limit:
        return examples
    return examples.some(sorted(random.Random(seed).sample(range(len(examples)), limit)))  # noqa: S311 - no secret


def _three(examples: Examples, shares: tuple[float, float, float], *, seed: int) -> tuple[Examples, Examples, Examples]:
    _, validation, test = shares
    rest, judged = _hold_back(examples, share=test, seed=seed, what="test", hint=RAISE_THE_SHARE)
    share = validation / (1 - test)
    kept, chosen_by = _hold_back(rest, share=share, seed=seed, what="validation", hint=RAISE_THE_SHARE)
    return kept, chosen_by, judged


def _hold_back(
    examples: Examples, *, share: float, seed: int, what: str = "validation", hint: str = NAME_A_FILE
) -> tuple[Examples, Examples]:
    """A share of the texts apart, with each class in its share; rows of one text stay together."""
    texts = [text_of(one, task=examples.labels.task) for one in examples.inputs]
    first: dict[TextInput, int] = {}
    for row, one in enumerate(texts):
        first.setdefault(one, row)
    order = list(first.values())
    random.Random(seed).shuffle(order)  # noqa: S311 - a split, not a secret
    order.sort(key=lambda row: _stratum(examples.targets[row]))
    count = round(len(order) * share)
    if count == 0:
        rows = "rows" if len(order) == len(examples) else "different texts"
        raise DataError(f"{examples.source} has {len(order)} {rows}: too few to hold some back for {what}", hint=hint)
    apart = {texts[order[int((place + 0.5) * len(order) / count)]] for place in range(count)}
    held = [row for row, one in enumerate(texts) if one in apart]
    kept = [row for row, one in enumerate(texts) if one not in apart]
    return _drawn(examples, kept), _drawn(examples, held)


def text_of(one: TextInput, *, task: str) -> TextInput:
    """What a model that has seen it knows before it is asked: of a question the context, else all of an input."""
    return one[1] if task == question_answering.NAME else one


def _drawn(examples: Examples, rows: Sequence[int]) -> Examples:
    """These rows, with a hash of their own: other draws from one file are other rows."""
    return replace(examples.some(rows), sha256=sha256_text(f"{examples.sha256} {list(rows)}"))


def _stratum(target: Target) -> tuple[float, ...]:
    """By what rows are alike: their classes, or their number; by nothing else."""
    if isinstance(target, tuple):
        return cast("tuple[float, ...]", target)
    return (target,) if isinstance(target, float) else ()
