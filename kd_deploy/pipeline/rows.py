"""Rows for a model that is there already: its own classes decide what the labels mean."""

from dataclasses import replace

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.pipeline.targets import Target, resolve
from kd_deploy.recipe import Data
from kd_deploy.runtime.predictor import heads_of
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.heads import MAIN, find_head, lay_out
from kd_deploy.tasks.splits import read
from kd_deploy.tasks.text_classification import (
    Examples,
    LabelSpace,
    read_examples,
    read_inputs,
)


def rows_for(reference: str, source: str, *, columns: dict[str, str], task: str = MAIN) -> Examples:
    """The rows of a data file, as examples of the classes of a model, or of one of its tasks.

    Raises:
        DataError: Anything wrong in the file, or labels that the model does not have.
        UsageError: The model has no such task.
    """
    return read_examples(_table(source, columns), labels_for(replace(resolve(reference), task=task)))


def texts_of(source: str, *, columns: dict[str, str]) -> tuple[TextInput, ...]:
    """The texts of a data file; labels need not be there."""
    return read_inputs(_table(source, columns))


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
        raise DataError(f"{target.path} has no classification head", hint="fine-tune it first: kd-deploy finetune")
    return find_head(lay_out(labels, {}), target.task).labels


def _table(source: str, columns: dict[str, str]) -> Table:
    return read(Data(columns=columns), source, split="test")
