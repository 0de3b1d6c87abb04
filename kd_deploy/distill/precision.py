"""Which number format a pass over the model runs in."""

import contextlib
from typing import Literal

import torch
from torch import nn

from kd_deploy.errors import TrainingError
from kd_deploy.machine import this_machine

Format = Literal["fp32", "bf16"]


def choose_format(asked: Literal["auto", "fp32", "bf16"], model: nn.Module) -> Format:
    """bf16 where the hardware multiplies it and the model gains; emulated bf16 is a hundred times slower.

    Raises:
        TrainingError: bf16 was asked for by name on hardware without it.
    """
    from kd_deploy.distill.students.own import is_ours  # it needs transformers, and has_bf16 does not

    require_format(asked)
    if asked != "auto":
        return asked
    return "bf16" if has_bf16() and not is_ours(model) else "fp32"


def require_format(asked: Literal["auto", "fp32", "bf16"]) -> None:
    """Refuse what this hardware does not have.

    Raises:
        TrainingError: bf16 was asked for by name on hardware without it.
    """
    if asked == "bf16" and not has_bf16():
        raise TrainingError("precision bf16: no bfloat16 products in hardware here", hint="leave precision at auto")


def has_bf16() -> bool:
    """Whether bfloat16 products run in hardware here, on the GPU where there is one."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return this_machine().has_bf16


def usual_device() -> torch.device:
    """Where passes over a model run: on the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """What that device is called."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"


def autocast(chosen: Format, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which a forward pass runs in the chosen format."""
    if chosen == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
