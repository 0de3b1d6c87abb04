"""Against a student that leans on its teacher too much: perturbed word vectors, and two passes that must agree."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_deploy.distill.objectives.logits import yes_or_no
from kd_deploy.distill.word_table import readers


class Vectors:
    """The word vectors of one forward pass, [B, S, E]: read, and moved by `shifts` where they are given.

    Of each look into the table in turn: where an encoder and a decoder share one, both read the text.
    """

    def __init__(self, shifts: Sequence[Tensor] = ()) -> None:
        """Listen alone, or move the vectors too."""
        self._shifts = tuple(shifts)
        self._seen: list[Tensor] = []

    @contextlib.contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Listen while the block runs one forward pass."""
        self._seen.clear()
        hooks = [one.register_forward_hook(self._hear) for one in readers(model)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hear(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        moved = output + self._shifts[len(self._seen)].to(output.dtype) if self._shifts else output
        self._seen.append(moved)
        return moved

    def worst_shift(self, loss: Tensor, *, size: float) -> tuple[Tensor, ...]:
        """The step of the given length, per example, that raises the loss most: [B, S, E] for each look.

        FGM, Miyato et al. 2017, "Adversarial training methods for semi-supervised text classification",
        arXiv 1605.07725: the gradient over all word vectors of an example, scaled to `size`. The authors bring the word
        vectors to mean 0 and variance 1 first; here they stay, so that `size` is one in the model's own vectors.
        """
        gradients = [one.float() for one in torch.autograd.grad(loss, self._seen, retain_graph=True)]
        length = torch.cat([one.flatten(1) for one in gradients], dim=1).norm(dim=1)  # [B]
        length = length.clamp(min=torch.finfo(torch.float32).tiny)
        return tuple(size * one / length[:, None, None] for one in gradients)


def disagreement(first: Tensor, second: Tensor, *, several: bool) -> Tensor:
    """Half the sum of KL both ways between two passes over the same batch, [], float32, in nats.

    R-Drop, Liang et al. 2021, "R-Drop: regularized dropout for neural networks", arXiv 2106.14448. Unlike
    the losses against a teacher, both sides feel the gradient.

    Args:
        first: Logits, [B, C].
        second: Logits, [B, C], under another dropout.
        several: Whether each class is a yes-or-no question of its own.
    """
    if several:
        first, second = yes_or_no(first), yes_or_no(second)
    log_p, log_q = (one.float().log_softmax(dim=-1) for one in (first, second))
    both = (log_p.exp() - log_q.exp()) * (log_p - log_q)  # KL(p || q) + KL(q || p), class by class
    return 0.5 * both.flatten(1).sum(dim=1).mean()
