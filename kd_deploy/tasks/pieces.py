"""Inputs in pieces that a model reads at once."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kd_deploy.tasks.encoding import Encoded, TextInput
from kd_deploy.tasks.task import Examples, Piece, Reading, Readings, Task

AT_ONCE = 256  # examples whose logits of tokens are held in memory


def whole(inputs: Sequence[TextInput]) -> list[Piece]:
    """Every input in one piece."""
    return [Piece(row, one) for row, one in enumerate(inputs)]


def stacked(readings: Readings) -> NDArray[np.float32]:
    """The logits [N, C] of inputs that were read in one piece each."""
    return np.stack([reading[0].logits for reading in readings])


def reading_of(piece: Piece, encoded: Encoded, logits: NDArray[np.float32]) -> Reading:
    """What a model showed of a piece, [C] or [S, C]: where tokens are hidden, of these alone."""
    if piece.hidden is None:
        return Reading(piece, encoded, logits)
    return Reading(piece, encoded, logits[list(piece.hidden.places)])


def in_turns(examples: Examples, task: Task) -> Iterator[Examples]:
    """All examples at once, or, where logits are of tokens, so many at a time that they fit in memory."""
    if task.LEVEL == "text":
        yield examples
        return
    for begin in range(0, len(examples), AT_ONCE):
        yield examples.some(range(begin, min(begin + AT_ONCE, len(examples))))
