"""Several processes of one training (torchrun, accelerate launch): all compute, the first one writes."""

import os


def join() -> None:
    """Enter the process group where a launcher made one; nothing otherwise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _state()


def wait() -> None:
    """Go on when every process is here; at once where there is only one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _state().wait_for_everyone()  # type: ignore[attr-defined]


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def _state() -> object:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
