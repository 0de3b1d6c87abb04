"""How much each example of a batch counts, and how far its teacher is softened."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.decisions import LOW
from kd_deploy.distill.objectives.batch import kl
from kd_deploy.distill.objectives.logits import yes_or_no

Focus = Literal["all", "sure", "unsure", "hard"]


def focus_weights(student: Tensor, teacher: Tensor, *, focus: Focus, several: bool) -> Tensor | None:
    """How much each example counts, [B], with mean 1; None where all count alike.

    `sure` and `unsure` go by the entropy of the teacher's answer, `hard` by the distance
    KL(teacher || student) as it is now. No gradient flows through the weights.

    Args:
        student: Logits, [B, C].
        teacher: Logits, [B, C].
        focus: Which examples count more.
        several: Whether each class is a yes-or-no question of its own.
    """
    if focus == "all":
        return None
    if focus == "hard":
        raw = _distance(student.detach(), teacher.detach(), several=several)  # [B]
    else:
        spread = normalised_entropy(teacher, several=several)  # [B]
        raw = spread if focus == "unsure" else 1 - spread
    mean = raw.mean()
    return raw / mean if mean > 0 else torch.ones_like(raw)


def adapted_temperature(teacher: Tensor, *, temperature: float, several: bool) -> Tensor:
    """A temperature for each example, [B]: the full one where the teacher is sure, 1 where it knows nothing."""
    return 1 + (temperature - 1) * (1 - normalised_entropy(teacher, several=several))


def normalised_entropy(logits: Tensor, *, several: bool) -> Tensor:
    """The entropy of each answer, [B], as a share of the highest one possible; several classes: their mean.

    Places that no answer can be at, which padding adds to a span's, are not among those possible.
    """
    pairs = _distributions(logits.detach(), several=several)  # [B, ..., K]
    possible = (pairs > LOW / 2).sum(dim=-1)  # [B, ...]
    entropy = -(pairs.exp() * pairs).sum(dim=-1) / possible.clamp(min=2).log()
    return entropy.flatten(1).mean(dim=1).clamp(0, 1)


def _distance(student: Tensor, teacher: Tensor, *, several: bool) -> Tensor:
    p, q = _distributions(teacher, several=several), _distributions(student, several=several)
    return kl(p, q).clamp(min=0)


def _distributions(logits: Tensor, *, several: bool) -> Tensor:
    values = yes_or_no(logits) if several else logits[:, None, :]
    return F.log_softmax(values.float(), dim=-1)
