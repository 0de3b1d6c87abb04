"""The table of word vectors in training: frozen on request, and with gradients of the rows of a batch alone."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT
from torch.utils.hooks import RemovableHandle

from kd_deploy.distill import processes
from kd_deploy.distill.observe import word_vectors
from kd_deploy.errors import TrainingError

Embeddings = Literal["train", "frozen", "sparse"]
TINY = 1e-6  # keeps a gradient of 0 from a division by 0


@contextlib.contextmanager
def word_table(model: nn.Module, how: Embeddings, *, heard: bool = False) -> Iterator[None]:
    """Train the word vectors of a model as asked for the length of the block.

    Args:
        model: A classifier.
        how: `train` and `sparse` change them, as `TableAdamW` does; `frozen` keeps them. Where an adapter has
            frozen them, all three do.
        heard: Whether somebody asks for the gradient of frozen vectors, as fgm does; it costs a longer backward pass.

    Raises:
        TrainingError: `sparse`, and several processes whose gradients cannot be summed: on accelerators, or of a table
            that the head shares.
    """
    table = word_vectors(model)
    if not table.weight.requires_grad:
        yield
        return
    # A head that shares the table makes the sum of both gradients dense, where each process has been told otherwise.
    summed = processes.count() == 1 or not (torch.cuda.is_available() or _is_shared(table.weight, model))
    if how == "sparse" and not summed:
        where = "on accelerators" if torch.cuda.is_available() else "and a head that shares the word vectors"
        raise TrainingError(
            f"embeddings: sparse, with {processes.count()} processes {where}", hint="choose embeddings: train"
        )
    # Dense gradients cost little on an accelerator, and sparse ones make the processor wait for it.
    table.sparse = how == "sparse" or (how == "train" and summed and not torch.cuda.is_available())
    table.weight.requires_grad_(how != "frozen")
    hooks = accept_gradient(model) if how == "frozen" and heard else []
    try:
        yield
    finally:
        table.sparse = False
        table.weight.requires_grad_(True)
        for hook in hooks:
            hook.remove()


def _is_shared(weight: Tensor, model: nn.Module) -> bool:
    return sum(one is weight for _, one in model.named_parameters(remove_duplicate=False)) > 1


def accept_gradient(model: nn.Module) -> list[RemovableHandle]:
    """Let the gradient reach frozen word vectors, where the backward pass would end before fgm can ask for it."""
    return [one.register_forward_hook(_accept) for one in readers(model)]


def readers(model: nn.Module) -> list[nn.Module]:
    """Whatever looks into the table of word vectors; in BART a module for each half, and none that is called itself."""
    weight = word_vectors(model).weight
    return [one for one in model.modules() if isinstance(one, nn.Embedding) and one.weight is weight]


def _accept(_module: nn.Module, _inputs: object, output: Tensor) -> None:
    if torch.is_grad_enabled() and not output.requires_grad:
        output.requires_grad_(True)


@torch.no_grad()
def clip(weights: Iterable[nn.Parameter], *, largest: float) -> Tensor:
    """The length of all gradients as one vector, [], which is then cut to `largest`.

    Torch's own clip_grad_norm_ knows no sparse gradients, and multiplies by 1 where there is nothing to cut.

    Args:
        weights: Those without a gradient are passed over.
        largest: Above 0.
    """
    gradients = []
    for weight in weights:
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()  # so that its values are those of its rows, and no copy
        if weight.grad is not None:
            gradients.append(weight.grad.values() if weight.grad.is_sparse else weight.grad)
    length = nn.utils.get_total_norm(gradients)
    factor = (largest / (length + TINY)).clamp(max=1.0)
    if length.is_cpu and factor == 1:  # elsewhere the question would wait for the device
        return length
    for gradient in gradients:
        gradient.mul_(factor)
    return length


class TableAdamW(torch.optim.AdamW):
    """AdamW for weights of which some have sparse gradients: those of a table, for the rows of a batch.

    It makes the steps that AdamW makes of dense gradients, without a table of zeros being written in every
    backward pass. `row_by_row` changes the rows of the batch alone: every row is its own AdamW over the steps in
    which it occurs, and moments, bias correction and weight decay rest between them. Where every row occurs in
    every step the two are the same. A rare word then moves by the learning rate when it occurs; under AdamW it
    also drifts on for a dozen steps afterwards, and decays towards 0 between its texts.
    """

    def __init__(self, weights: ParamsT, *, row_by_row: bool = False, **options: Any) -> None:
        """Take the weights, or groups of them.

        Args:
            weights: As in torch.
            row_by_row: As above.
            options: As in torch.
        """
        super().__init__(weights, **options)
        self._row_by_row = row_by_row
        self._dense: dict[Tensor, Tensor] = {}  # 0 between steps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step over all weights.

        Args:
            closure: As in torch; a trainer gives none.
        """
        filled = []
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None or not weight.grad.is_sparse:
                    continue
                found = weight.grad.coalesce()
                rows, gradient = found.indices()[0], found.values()  # [R], [R, E]
                if self._row_by_row:
                    self._step_rows(weight, rows, gradient=gradient, group=group)
                    weight.grad = None
                else:
                    weight.grad = self._whole(weight).index_copy_(0, rows, gradient)
                    filled.append((weight, rows))
        result: float | None = super().step(closure)
        for weight, rows in filled:
            self._dense[weight].index_fill_(0, rows, 0)
            weight.grad = None
        return result

    def _whole(self, weight: Tensor) -> Tensor:
        if weight not in self._dense:
            self._dense[weight] = torch.zeros_like(weight)
        return self._dense[weight]

    def _step_rows(self, weight: Tensor, rows: Tensor, *, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(len(weight), device=weight.device)  # of each row
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        (first, second), rate = group["betas"], group["lr"]
        steps = state["step"].index_select(0, rows).add_(1)  # [R]
        mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - first)  # [R, E]
        square = state["exp_avg_sq"].index_select(0, rows).mul_(second)  # [R, E]
        square.addcmul_(gradient, gradient, value=1 - second)
        # In float32, 1 - 0.999 has four digits left.
        there = 1 - first ** steps.double()  # [R], the share of the mean that is there yet
        there_square = 1 - second ** steps.double()  # [R]
        spread = (square / there_square[:, None].to(square.dtype)).sqrt_().add_(group["eps"])  # [R, E]
        change = mean / spread * (rate / there)[:, None].to(mean.dtype)  # [R, E]
        kept = weight.index_select(0, rows).mul_(1 - rate * group["weight_decay"])  # [R, E]
        for table, value in (
            (weight, kept.sub_(change)),
            (state["step"], steps),
            (state["exp_avg"], mean),
            (state["exp_avg_sq"], square),
        ):
            table.index_copy_(0, rows, value)
