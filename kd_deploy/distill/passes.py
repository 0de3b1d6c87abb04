"""Many texts through a torch model, in batches of like length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_deploy.distill.decisions import logits_of
from kd_deploy.distill.torch_runner import input_names
from kd_deploy.tasks import pieces
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, batches_by_length, unpadded
from kd_deploy.tasks.registry import shortening
from kd_deploy.tasks.task import Reading, Task

PASS_TOKEN_BUDGET = 4096
Progress = Callable[[Sequence[list[int]]], Iterable[list[int]]]


def passes(
    model: nn.Module, encoder: Encoder, encoded: Sequence[Encoded], *, progress: Progress = iter
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batches of like length on the model's device: which rows, and the arrays [B, S] that the model takes.

    Args:
        model: Whose arrays and whose device.
        encoder: The tokenizer that encoded the rows.
        encoded: All rows.
        progress: Wraps the list of batches.
    """
    device = next(model.parameters()).device
    batches = list(batches_by_length([len(one) for one in encoded], token_budget=PASS_TOKEN_BUDGET))
    for rows in progress(batches):
        arrays = encoder.collate([encoded[row] for row in rows], input_names=input_names(model))
        yield rows, {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}


def all_logits(model: nn.Module, encoder: Encoder, inputs: Sequence[TextInput], *, context: Any) -> NDArray[np.float32]:
    """The logits [N, C] of every input, in the order of the inputs, of a model that decides one thing about a text.

    Args:
        model: In evaluation mode or not; it is put back as it was.
        encoder: The tokenizer of this model.
        inputs: Texts or pairs.
        context: What `precision.autocast` gave, entered around every pass.
    """
    found = dict(_logits_of_all(model, encoder, encoder.encode_all(inputs), context=context))
    return np.stack([found[row] for row in range(len(inputs))])


def read_all(
    model: nn.Module,
    encoder: Encoder,
    inputs: Sequence[TextInput],
    *,
    task: Task,
    columns: slice = slice(None),
    context: Any,
) -> list[list[Reading]]:
    """What a model shows of every input, piece by piece; the arguments are those of `all_logits`.

    Args:
        model: Whose task, or one of whose tasks, it is.
        encoder: The tokenizer of this model.
        inputs: Texts or pairs.
        task: Says how inputs are cut.
        columns: Where the logits of the task lie among all.
        context: Entered around every pass.
    """

    def show(encoded: Sequence[Encoded]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for row, logits in _logits_of_all(model, encoder, encoded, context=context):
            yield row, logits[..., columns]

    return pieces.read(inputs, encoder, task=task, show=show, shorten=shortening(task))


@torch.inference_mode()
def _logits_of_all(
    model: nn.Module, encoder: Encoder, encoded: Sequence[Encoded], *, context: Any
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The number of every input and its logits [C], or [S, C] without padding, in length-sorted batches."""
    was_training = model.training
    model.eval()
    for rows, arrays in passes(model, encoder, encoded):
        with context:
            logits = logits_of(model(**arrays))
        values = logits.float().cpu().numpy()
        of_texts = values.ndim == 2  # noqa: PLR2004 - [B, C]
        yield from zip(rows, values if of_texts else unpadded(values, [encoded[row] for row in rows]), strict=True)
    model.train(was_training)
