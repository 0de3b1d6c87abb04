"""Which order of batches an epoch has, also for a training that is taken up again."""

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from kd_deploy.distill.balancing import Balanced
from kd_deploy.distill.rows import Rows
from kd_deploy.distill.sampling import Batches


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Gives every epoch its order; a training taken up in the middle of one would else begin at epoch 0's.

    The rows are told it too: what they hide goes by it.
    """

    def __init__(self, batches: Batches | Balanced, rows: Sequence[Rows]) -> None:
        self._batches = batches
        self._rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ARG002
        """The order of the epoch in which the next step lies."""
        epoch = state.global_step // self._batches.steps
        self._batches.set_epoch(epoch)
        for rows in self._rows:
            rows.epoch = epoch
