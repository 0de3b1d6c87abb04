"""Losses between the student's logits and the labels of the data."""

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.decisions import LOW
from kd_deploy.distill.objectives.batch import mean_over_batch
from kd_deploy.errors import ShapeError, TrainingError


def hard_label_loss(
    student: Tensor, targets: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy with the labels, over one class or each of several yes-or-no classes; or the distance of numbers.

    Label smoothing is that of Szegedy et al. 2016, "Rethinking the Inception architecture", arXiv 1512.00567:
    the share `smoothing` of each target is spread evenly, over all classes or over yes and no.

    Args:
        student: Logits, [B, C].
        targets: Class ids, [B], int64; an indicator, [B, C], float, for several labels; or numbers, [B], float, of
            which logits [B, 1] are an estimate.
        smoothing: From 0 to below 1. One label: its class is aimed at 1 - smoothing + smoothing / C, the others at
            smoothing / C, where C counts the classes that are possible: no padding among places. Several: yes at
            1 - smoothing / 2, no at smoothing / 2. Numbers stay as they are.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Mean over the batch, [], float32, in nats; for several labels of the sum over classes; for numbers squared.

    Raises:
        ShapeError: The targets are neither [B] nor [B, C], or the weights are not [B].
        TrainingError: The smoothing is out of its range.
    """
    if not 0 <= smoothing < 1:
        raise TrainingError(f"smoothing is {smoothing}", hint="it goes from 0 to below 1")
    if targets.shape not in (student.shape[:1], student.shape):
        raise ShapeError(f"targets are {list(targets.shape)}, student logits are {list(student.shape)}")
    if targets.dim() == 1 and targets.is_floating_point():
        rows = (student.float().squeeze(-1) - targets.float()) ** 2  # [B]
    elif targets.dim() == 1:
        rows = F.cross_entropy(student.float(), targets, reduction="none")  # [B]
        if smoothing:
            rows = (1 - smoothing) * rows + smoothing * _surprise(student)
    else:
        aims = targets.float() * (1 - smoothing) + smoothing / 2  # [B, C]
        rows = F.binary_cross_entropy_with_logits(student.float(), aims, reduction="none").sum(dim=-1)  # [B]
    return mean_over_batch(rows, weights=weights)


def _surprise(student: Tensor) -> Tensor:
    """The mean of -log p over the classes that are possible, [B]."""
    possible = student > LOW / 2  # [B, C]
    shares = F.log_softmax(student.float(), dim=-1).masked_fill(~possible, 0)
    return -shares.sum(dim=-1) / possible.sum(dim=-1)
