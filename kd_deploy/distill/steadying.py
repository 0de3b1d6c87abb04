"""Against a student that leans on its teacher too much: perturbed word vectors, and two passes that must agree."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kd_deploy.distill.objectives.logits import yes_or_no
from kd_deploy.distill.observe import word_vectors


class Vectors:
    """The word vectors of one forward pass, [B, S, E]: read, and moved by `shift` where it is given."""

    def __init__(self, shift: Tensor | None = None) -> None:
        """Listen alone, or move the vectors too."""
        self._shift = shift
        self._seen: Tensor | None = None

    @contextlib.contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Listen while the block runs one forward pass."""
        hook = word_vectors(model).register_forward_hook(self._hear)
        try:
            yield
        finally:
            hook.remove()

    def _hear(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        self._seen = output if self._shift is None else output + self._shift.to(output.dtype)
        return self._seen

    def worst_shift(self, loss: Tensor, *, size: float) -> Tensor:
        """The step of the given length, per example, that raises the loss most, [B, S, E].

        FGM, Miyato et al. 2017, "Adversarial training methods for semi-supervised text classification",
        arXiv 1605.07725: the gradient over all word vectors of an example, scaled to `size`.
        """
        assert self._seen is not None  # noqa: S101 - a pass was made
        (gradient,) = torch.autograd.grad(loss, self._seen, retain_graph=True)
        length = gradient.float().flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)  # [B]
        step: Tensor = size * gradient.float() / length[:, None, None]
        return step


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
