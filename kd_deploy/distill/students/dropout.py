"""How much a transformer leaves out in training, by whatever names its config calls the rates."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PART, OF_LAYERS = "drop", "layerdrop"  # whole layers are another matter


def rates_in(config: Mapping[str, Any]) -> dict[str, float]:
    """The rates of dropout in the fields of a config; those that are left to another one, None, are not among them."""
    named = {name: value for name, value in config.items() if PART in name and OF_LAYERS not in name}
    return {
        name: value for name, value in named.items() if isinstance(value, float | int) and not isinstance(value, bool)
    }


def rates_of(model: nn.Module) -> Iterator[float]:
    """The rates that a model really has: a config may name some for heads that it has not."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            yield module.p
        yield from rates_in(vars(module)).values()


def set_dropout(config: "PreTrainedConfig", rate: float | None) -> None:
    """Give every rate of a config this value; None: leave them."""
    for name in rates_in(config.to_dict()) if rate is not None else ():
        setattr(config, name, rate)
