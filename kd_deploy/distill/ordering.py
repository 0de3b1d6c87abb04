"""Which order of batches an epoch has, also for a training that is taken up again."""

from typing import Any

from transformers import TrainerCallback

from kd_deploy.distill.balancing import Balanced
from kd_deploy.distill.sampling import Batches


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Gives every epoch its order; a training taken up in the middle of one would else begin at epoch 0's."""

    def __init__(self, batches: Batches | Balanced) -> None:
        self._batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ARG002
        """The order of the epoch in which the next step lies."""
        self._batches.set_epoch(state.global_step // self._batches.steps)
