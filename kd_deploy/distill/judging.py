"""What a model in training is worth on rows with labels."""

from torch import nn

from kd_deploy.distill.precision import Format, autocast
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.torch_runner import all_logits
from kd_deploy.tasks.text_classification import predicted_classes, score


def evaluate_model(
    model: nn.Module, data: TrainingData, *, number_format: Format, columns: slice = slice(None)
) -> dict[str, float]:
    """The scores of a model on the rows of a task, whose logits lie at `columns` among all."""
    device = next(model.parameters()).device
    logits = all_logits(model, data.encoder, data.examples.inputs, context=autocast(number_format, device))
    labels = data.examples.labels
    predicted = predicted_classes(logits[:, columns], labels)
    return score(predicted, data.examples.targets, class_count=len(labels.names))
