"""What the scores of several tasks have in common: sums over rows, and how alike two models answer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kd_deploy.tasks.task import Prediction


def summed(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None) -> tuple[NDArray[np.float64], int]:
    """The sums [K] of rows [N, K], each counted so many times [N], and how many rows that makes."""
    if counts is None:
        return statistics.sum(axis=0), len(statistics)
    return counts @ statistics, int(counts.sum())


def same(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of rows on which two models give the same answer."""
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)
