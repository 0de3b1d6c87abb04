"""Layers with narrower feed-forward parts than the teacher's: of its inner units, those that weigh most."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def thinned(
    found: Mapping[str, Tensor | None], wanted: Mapping[str, Tensor], *, lists: Iterable[str]
) -> dict[str, Tensor | None]:
    """The weights of layers, those of their inner units left out that weigh least where the student has fewer.

    How much a unit weighs is the product of the norms of the weights that go into it and out of it: pruning by
    magnitude, which asks for no data (Li et al. 2017, "Pruning filters for efficient ConvNets", arXiv 1608.08710).
    Those that stay keep their order, so that as many as the teacher has are the teacher's.

    Args:
        found: The teacher's weights by the student's names; None where it has none.
        wanted: The student's weights.
        lists: What the names of the weights of layers begin with, before a layer's number.

    Returns:
        The same names; what differs from the student in more than the width of one axis stays as it is.
    """
    layers: dict[str, list[str]] = defaultdict(list)
    for name in found:
        prefix = next((one for one in lists if name.startswith(one)), None)
        if prefix is not None:
            layers[prefix + name.removeprefix(prefix).split(".", 1)[0]].append(name)
    out = dict(found)
    for names in layers.values():
        axes = {name: axis for name in names if (axis := _narrower(found[name], wanted[name])) is not None}
        out |= _without_the_least({name: _present(found[name]) for name in axes}, wanted, axes=axes)
    return out


def _narrower(value: Tensor | None, wanted: Tensor) -> int | None:
    """The one axis along which the student's weight is shorter, if there is one."""
    if value is None or value.dim() != wanted.dim():
        return None
    unlike = [axis for axis in range(value.dim()) if value.shape[axis] != wanted.shape[axis]]
    return unlike[0] if len(unlike) == 1 and value.shape[unlike[0]] > wanted.shape[unlike[0]] else None


def _present(value: Tensor | None) -> Tensor:
    assert value is not None  # noqa: S101 - one that is not has no narrower axis
    return value


def _without_the_least(
    values: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, axes: Mapping[str, int]
) -> dict[str, Tensor]:
    if not values:
        return {}
    have = min(value.shape[axes[name]] for name, value in values.items())  # a gate may lie beside them: twice as many
    keep = min(wanted[name].shape[axis] for name, axis in axes.items())
    weighs = torch.zeros(have, dtype=torch.float64)
    for name, value in values.items():
        if value.dim() > 1:
            by_unit = value.detach().double().movedim(axes[name], 0).flatten(1).norm(dim=1)  # [copies * have]
            weighs += by_unit.reshape(-1, have).clamp(min=1e-12).log().sum(dim=0).cpu()
    kept = weighs.topk(keep).indices.sort().values
    return {
        name: value.index_select(axes[name], _in_each(kept, value, axes[name], have)) for name, value in values.items()
    }


def _in_each(kept: Tensor, value: Tensor, axis: int, have: int) -> Tensor:
    """The places of the kept units along an axis that holds them once or, with their gates, twice."""
    copies = torch.arange(value.shape[axis] // have)
    return (copies[:, None] * have + kept[None, :]).flatten().to(value.device)
