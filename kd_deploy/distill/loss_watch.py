"""Stops a training whose loss is no number, without waiting for the device at every step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kd_deploy.errors import TrainingError

HINT = "lower the learning rate, or choose precision: fp32; either starts this training anew"
LOOK_EVERY = 3  # steps: reading a loss makes the processor wait until the device is done with it


class LossWatch:
    """Holds the losses back, and looks at a few of them at once."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._steps: list[int] = []
        self._losses: list[Tensor] = []
        self._parts: list[Sequence[tuple[str, Tensor]]] = []

    def see(self, loss: Tensor, *, step: int, parts: Sequence[tuple[str, Tensor]] = ()) -> None:
        """Take the loss [] of a step, counted from 1; every third time, look at all that were taken.

        Args:
            loss: Of the step, [].
            step: Which one.
            parts: What it is made of, by name, [] each.

        Raises:
            TrainingError: A loss is not finite; the message names its step and its parts that are not.
        """
        self._steps.append(step)
        self._losses.append(loss.detach())
        self._parts.append(parts)
        if len(self._losses) == LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Look at what was taken since the last look.

        Raises:
            TrainingError: A loss is not finite; the message names its step and its parts that are not.
        """
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        steps, self._steps, self._losses = self._steps, [], []
        made_of, self._parts = self._parts, []
        for step, value, parts in zip(steps, values, made_of, strict=True):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step}{_where(parts)}",
                    hint=HINT,
                )


def _where(parts: Sequence[tuple[str, Tensor]]) -> str:
    bad = [name for name, value in parts if not torch.isfinite(value)]
    if not bad:
        return ""
    return ", in every term" if len(bad) == len(parts) > 1 else f", in {' and '.join(bad)}"
