"""What the scores of several tasks have in common: sums over rows, and what a guess is worth."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def summed(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None) -> tuple[NDArray[np.float64], int]:
    """The sums [K] of rows [N, K], each counted so many times [N], and how many rows that makes."""
    if counts is None:
        return statistics.sum(axis=0), len(statistics)
    return counts @ statistics, int(counts.sum())


def commonest_share(targets: Sequence[Hashable]) -> float:
    """The accuracy of always saying the commonest of them."""
    (_, often), *_ = Counter(targets).most_common(1)
    return often / len(targets)
