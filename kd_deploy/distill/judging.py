"""What a model in training is worth on rows with labels."""

from functools import partial

from torch import nn

from kd_deploy.distill.precision import Format, autocast
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.torch_runner import read_all
from kd_deploy.tasks.pieces import predicted
from kd_deploy.tasks.registry import scores, task_of


def evaluate_model(
    model: nn.Module, data: TrainingData, *, number_format: Format, columns: slice = slice(None)
) -> dict[str, float]:
    """The scores of a model on the rows of a task, whose logits lie at `columns` among all."""
    examples, device = data.examples, next(model.parameters()).device
    task, context = task_of(examples.labels), autocast(number_format, device)
    reading = partial(read_all, model, data.encoder, task=task, columns=columns, context=context)
    return scores(predicted(examples, task=task, reading=reading), examples)
