"""Several processes of one training (torchrun, accelerate launch): all compute, the first one writes."""

import contextlib
import os
from datetime import timedelta
from typing import TypeVar

from kd_deploy.errors import UsageError

PATIENCE = timedelta(days=7)  # the others wait while the first process asks a teacher, however long that takes

ONE_CACHE = "name one folder in $KD_DEPLOY_CACHE that all processes share"
Said = TypeVar("Said")


def count() -> int:
    """How many processes a launcher made; 1 where there is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join() -> None:
    """Enter the process group where a launcher made one; nothing otherwise."""
    if count() > 1:
        _state()


def wait() -> None:
    """Go on when every process is here; at once where there is only one."""
    if count() > 1:
        _state().wait_for_everyone()  # type: ignore[attr-defined]


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def own(name: str) -> str:
    """A name for this process alone, of a folder that every process writes alike."""
    return name if is_first() else f"{name}-{rank()}"


def first_ahead() -> contextlib.AbstractContextManager[object]:
    """A block that the first process leaves before the others enter it: what it has cached, they read."""
    if count() > 1:
        return _state().main_process_first()  # type: ignore[attr-defined, no-any-return]
    return contextlib.nullcontext()


def agreed(said: bool) -> bool:
    """What the first process says, for all of them."""
    return _first_says(said) if count() > 1 else said


def require_alike(found: int, *, what: str) -> None:
    """Refuse to go on where the first process found another number of `what` in the cache.

    Raises:
        UsageError: They do not share a cache.
    """
    if count() > 1 and _first_says(found) != found:
        raise UsageError(
            f"process {rank()} does not find all of {what} that the first one has kept",
            hint=ONE_CACHE,
        )


def _first_says(said: Said) -> Said:
    from accelerate.utils import broadcast_object_list

    _state()
    told = [said]
    broadcast_object_list(told)
    return told[0]


def _state() -> object:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
