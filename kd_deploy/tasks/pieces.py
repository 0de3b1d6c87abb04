"""Inputs in pieces that a model reads at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.task import Piece, Readings


def whole(inputs: Sequence[TextInput]) -> list[Piece]:
    """Every input in one piece."""
    return [Piece(row, one) for row, one in enumerate(inputs)]


def stacked(readings: Readings) -> NDArray[np.float32]:
    """The logits [N, C] of inputs that were read in one piece each."""
    return np.stack([reading[0].logits for reading in readings])
