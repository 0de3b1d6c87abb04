"""Rows for a model that is there already: its own classes decide what the labels mean."""

from collections.abc import Sequence
from dataclasses import replace

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.errors import DataError, UsageError
from kd_deploy.pipeline.targets import Target, resolve
from kd_deploy.recipe import Data
from kd_deploy.runtime.loading import heads_of
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.heads import MAIN, find_head, lay_out
from kd_deploy.tasks.registry import as_asked, task_of
from kd_deploy.tasks.splits import read, read_inputs
from kd_deploy.tasks.task import Examples, LabelSpace, Task


def rows_for(reference: str, source: str, *, columns: dict[str, str], task: str = MAIN) -> Examples:
    """The rows of a data file, as examples of the classes of a model, or of one of its tasks.

    Raises:
        DataError: Anything wrong in the file, or labels that the model does not have.
        UsageError: The model has no such task.
    """
    labels = labels_for(replace(resolve(reference), task=task))
    model_task = task_of(labels)
    return model_task.read_examples(read(Data(columns=columns), source, task=model_task, split="test"), labels)


def texts_of(source: str, *, columns: dict[str, str], task: Task) -> tuple[TextInput, ...]:
    """The inputs of a data file for a task, as a user gives them; labels need not be there."""
    return as_asked(read_inputs(source, columns=columns, task=task, split="test"), task)


def task_of_all(targets: Sequence[Target]) -> Task:
    """What all of some models are for.

    Raises:
        UsageError: They are not for the same.
    """
    tasks = {one.path: task_of(labels_for(one)) for one in targets}
    first, *others = tasks.items()
    for path, task in others:
        if task.NAME != first[1].NAME:
            raise UsageError(
                f"{first[0]} is for {first[1].NAME}, {path} for {task.NAME}", hint="measure models of one task at once"
            )
    return first[1]


def labels_for(target: Target) -> LabelSpace:
    """The classes of a model's task, without opening its weights.

    Raises:
        DataError: The model is no classifier.
        UsageError: The model has no such task.
    """
    if (target.path / MANIFEST).is_file():
        return find_head(heads_of(Bundle.open(target.path)), target.task).labels
    if target.kind == "onnx":
        with target.open() as predictor:
            return predictor.labels
    from kd_deploy.distill.checkpoints import labels_of

    labels = labels_of(target.path)
    if labels is None:
        raise DataError(f"{target.path} has no head of a task", hint="fine-tune it first: kd-deploy finetune")
    return find_head(lay_out(labels, {}), target.task).labels
