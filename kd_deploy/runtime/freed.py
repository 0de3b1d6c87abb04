"""Memory that is freed while a graph is opened goes back to the system."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Of malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
OPENING = 128 * 2**10  # blocks from here on are mapped one by one, and gone when they are freed
# Where glibc's own adjustment ends on 64 bits: in use, the blocks of one answer serve the next.
USUAL, USUAL_TRIM = 32 * 2**20, 64 * 2**20


@contextmanager
def freed_to_the_system() -> Iterator[None]:
    """Keep glibc from holding on to what is freed inside; its usual thresholds hold afterwards.

    onnxruntime reads all weights, packs each anew and frees what it read; by then glibc no longer maps blocks of that
    size, and the holes that they leave stay with the process. Elsewhere than on Linux with glibc, and where the
    environment sets the threshold, nothing happens.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" and not _is_set() else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, OPENING)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, USUAL)
        mallopt(TRIM_THRESHOLD, USUAL_TRIM)


def _is_set() -> bool:
    return "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
