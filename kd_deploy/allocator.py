"""What glibc's malloc does with memory that is freed; on other systems nothing changes."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
OPENING = 128 * 2**10  # blocks from here on are mapped one by one, and gone when they are freed
# Where glibc's own adjustment ends on 64 bits: in use, the blocks of one answer serve the next.
USUAL, USUAL_TRIM = 32 * 2**20, 64 * 2**20
USUAL_MAPS = 65536
NEVER, NONE = -1, 0
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


@contextmanager
def freed_to_the_system() -> Iterator[None]:
    """Keep glibc from holding on to what is freed inside; its usual thresholds hold afterwards.

    onnxruntime reads all weights, packs each anew and frees what it read; by then glibc no longer maps blocks of that
    size, and the holes that they leave stay with the process. Where the environment sets an allocator's thresholds,
    nothing happens.
    """
    mallopt = _mallopt()
    mallopt(MMAP_THRESHOLD, OPENING)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, USUAL)
        mallopt(TRIM_THRESHOLD, USUAL_TRIM)


@contextmanager
def kept_for_reuse() -> Iterator[None]:
    """Keep glibc from giving large blocks back inside, since the next step needs them again; all goes back at the end.

    It maps blocks over 32 MiB one by one, and the system has to clear their pages each time: of a language model, whose
    logits are such blocks, that is a quarter of the training. Where the environment sets an allocator's thresholds,
    nothing happens.
    """
    mallopt = _mallopt()
    mallopt(MMAP_MAX, NONE)
    mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        mallopt(MMAP_MAX, USUAL_MAPS)
        mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        getattr(_library(), "malloc_trim", lambda _: 0)(0)


def _mallopt() -> Callable[[int, int], int]:
    is_set = any(name in os.environ for name in VARIABLES)
    return getattr(None if is_set else _library(), "mallopt", lambda *_: 0)


def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
