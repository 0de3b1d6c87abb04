"""Stops a training whose loss is no number, without waiting for the device at every step."""

import math

import torch
from torch import Tensor

from kd_deploy.errors import TrainingError

LOOK_EVERY = 3  # steps: reading a loss makes the processor wait until the device is done with it


class LossWatch:
    """Holds the losses back, and looks at a few of them at once."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._steps: list[int] = []
        self._losses: list[Tensor] = []

    def see(self, loss: Tensor, *, step: int) -> None:
        """Take the loss [] of a step, counted from 1; every third time, look at all that were taken.

        Raises:
            TrainingError: A loss is not finite; the message names its step.
        """
        self._steps.append(step)
        self._losses.append(loss.detach())
        if len(self._losses) == LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Look at what was taken since the last look.

        Raises:
            TrainingError: A loss is not finite; the message names its step.
        """
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        steps, self._steps, self._losses = self._steps, [], []
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step}",
                    hint="lower the learning rate, or choose precision: fp32; either starts this training anew",
                )
