"""Inputs in pieces that a model reads at once: the one road from texts to readings, in torch and in a graph alike."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import UsageError
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.masking import hiding
from kd_deploy.tasks.task import Examples, Piece, Prediction, Reading, Readings, Task

Shorten = Callable[[Piece, Encoded, NDArray[np.float32], bool], NDArray[np.float32]]
Show = Callable[[Sequence[Encoded]], Iterable[tuple[int, NDArray[np.float32]]]]
AT_ONCE = 256  # examples whose logits of tokens are held in memory


def whole(inputs: Sequence[TextInput]) -> list[Piece]:
    """Every input in one piece."""
    return [Piece(row, one) for row, one in enumerate(inputs)]


def single(inputs: Sequence[TextInput], *, task: str) -> list[str]:
    """The inputs of a task that reads single texts.

    Raises:
        UsageError: One of them is a pair.
    """
    pair = next((one for one in inputs if not isinstance(one, str)), None)
    if pair is not None:
        raise UsageError(f"{task} takes single texts, not a pair such as {pair[0][:60]!r}", hint="join the two")
    return [str(one) for one in inputs]


def with_accents(text: str, end: int) -> int:
    """Where characters that end at `end` end with the marks on the last of them, which a tokenizer may have dropped."""
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def stacked(readings: Readings) -> NDArray[np.float32]:
    """The logits [N, C] of inputs that were read in one piece each."""
    return np.stack([reading[0].logits for reading in readings])


def encode(pieces: Sequence[Piece], encoder: Encoder, *, task: Task) -> list[Encoded]:
    """The pieces as ids, with the places of their tokens where the task is about these; what is hidden is a mask."""
    found = encoder.encode_all([one.input for one in pieces], places=task.LEVEL != "text")
    return [hiding(one, piece.hidden) if piece.hidden else one for one, piece in zip(found, pieces, strict=True)]


def read(
    inputs: Sequence[TextInput], encoder: Encoder, *, task: Task, show: Show, shorten: Shorten | None = None
) -> list[list[Reading]]:
    """What a model shows of every input, piece by piece.

    Args:
        inputs: Texts or pairs.
        encoder: The tokenizer of the model.
        task: Says how inputs are cut.
        show: The numbers of encoded pieces, in any order, and the logits of each, [C] or [S, C] without padding.
        shorten: What is kept of the logits [S, C] of a piece, by its tokens and by whether another one of its text
            follows; None: all.
    """
    pieces = task.pieces(inputs, encoder)
    encoded = encode(pieces, encoder, task=task)
    followed = {row for row, (one, after) in enumerate(pairwise(pieces)) if one.row == after.row}
    shown: dict[int, Reading] = {}
    for row, logits in show(encoded):
        kept = shorten(pieces[row], encoded[row], logits, row in followed) if shorten else logits
        shown[row] = Reading(pieces[row], encoded[row], kept)
    found: list[list[Reading]] = [[] for _ in inputs]
    for row, piece in enumerate(pieces):
        found[piece.row].append(shown[row])
    return found


def predicted(
    examples: Examples, *, task: Task, reading: Callable[[Sequence[TextInput]], Readings], at_once: int = AT_ONCE
) -> tuple[Prediction, ...]:
    """What is scored of the readings of examples; where logits are of tokens, so many at a time as fit in memory."""
    if task.LEVEL == "text":
        return task.predictions(reading(examples.inputs), examples)
    found: list[Prediction] = []
    for some in examples.in_parts(at_once):
        found += task.predictions(reading(some.inputs), some)
    return tuple(found)
