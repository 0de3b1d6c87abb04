"""Losses between the student's logits and the labels of the data."""

import torch.nn.functional as F
from torch import Tensor


def hard_label_loss(student: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with the labels: over one class, or over each of several yes-or-no classes.

    Args:
        student: Logits, [B, C].
        targets: Class ids, [B], int64; or an indicator, [B, C], float, for several labels.

    Returns:
        Mean over the batch, [], float32, in nats; for several labels the sum over classes.
    """
    if targets.dim() == 1:
        return F.cross_entropy(student.float(), targets)
    losses = F.binary_cross_entropy_with_logits(student.float(), targets.float(), reduction="none")  # [B, C]
    return losses.sum(dim=-1).mean()
