"""Work that may be too large for the memory, told in one sentence."""

import contextlib
from collections.abc import Iterator

import torch

from kd_deploy.errors import TrainingError

# What torch says where it has no class of error for it.
SIGNS = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "out of memory")


@contextlib.contextmanager
def enough_memory(what: str, *, hint: str) -> Iterator[None]:
    """A block whose lack of memory is the user's to mend.

    Args:
        what: Is too large for the memory.
        hint: What would make it smaller.

    Raises:
        TrainingError: In place of torch's own error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in SIGNS):
            raise
        raise TrainingError(f"{what} is too large for the memory", hint=hint) from error
