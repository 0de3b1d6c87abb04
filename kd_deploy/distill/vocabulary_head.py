"""The head over the vocabulary on the tokens that are decided alone: it costs more than the layers under it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq


@contextlib.contextmanager
def only_at(model: nn.Module, kept: Tensor | None) -> Iterator[None]:
    """A block in which the head of a model works on some tokens alone: its logits are [1, N, V] then.

    Args:
        model: Of transformers, with a head that treats each token by itself.
        kept: Which tokens of the batch, [B, S], bool; None: all, and logits [B, S, V]. A model without such a head
            of its own, which asks another, is left as it is.
    """
    head = None if kept is None else _head(model)
    if kept is None or head is None:
        yield
        return

    def narrow(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][kept][None], *given[1:])

    hook = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        hook.remove()


def _head(model: nn.Module) -> nn.Module | None:
    """The first module after the layers that has learned anything."""
    if isinstance(model, LstmSeq2Seq):
        return model.project
    if not hasattr(model, "base_model_prefix"):
        return None
    if not hasattr(model, str(model.base_model_prefix)):  # T5's layers lie beside its head
        found: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
        return found
    further = [module for name, module in model.named_children() if name != str(model.base_model_prefix)]
    return next(module for module in further if next(module.parameters(), None) is not None)
