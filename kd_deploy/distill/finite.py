"""Numbers that must be some: weights before they are kept, and what a teacher says."""

import torch
from torch import Tensor, nn

from kd_deploy.distill.loss_watch import HINT
from kd_deploy.errors import TrainingError


def require_weights(model: nn.Module, *, step: int) -> None:
    """Refuse weights that a step has spoilt, before they are judged and kept.

    Raises:
        TrainingError: A weight is not finite.
    """
    bad = next((name for name, value in model.named_parameters() if not torch.isfinite(value).all()), None)
    if bad is not None:
        raise TrainingError(f"the weight {bad.removeprefix('model.')} is no number after step {step}", hint=HINT)


def require_signal(values: Tensor, *, name: str) -> None:
    """Refuse what a teacher says before it is kept.

    Raises:
        TrainingError: It is not finite.
    """
    if not values.isfinite().all():
        raise TrainingError(
            f"the teacher shows {name} that are no numbers", hint="check its weights, or train it again"
        )
