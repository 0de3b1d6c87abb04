"""Whether there is room for what a teacher says: on disk, within the limit of a recipe."""

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from kd_deploy.distill.observe import Shape
from kd_deploy.distill.signals import LOGITS

SPARE_SHARE = 0.8  # of the free space: the rest is for checkpoints and bundles


def fits(shape: Shape, *, names: Collection[str], tokens: int, new: int, limit_gb: float, cache: Path) -> bool:
    """Whether the signals of so many tokens, so many of them new, stay within the limit and the disk's free space."""
    per_token = sum(_width(name, shape) for name in names if name != LOGITS) * np.dtype(np.float16).itemsize
    return room_for(tokens * per_token, new=new * per_token, limit_gb=limit_gb, cache=cache)


def room_for(size: int, *, new: int, limit_gb: float, cache: Path) -> bool:
    """Whether so many bytes stay within the limit, and those that are new within the disk's free space."""
    nearest = next(path for path in (cache, *cache.parents) if path.exists())
    return size <= limit_gb * 1e9 and new <= SPARE_SHARE * shutil.disk_usage(nearest).free


def _width(name: str, shape: Shape) -> int:
    return shape.embedding_width if name == "embedding" else shape.width
