"""How alike two lists of numbers rise and fall: Spearman's and Pearson's correlation."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def spearman(left: Numbers, right: Numbers, *, counts: NDArray[np.int64] | None = None) -> float:
    """The correlation of the ranks of two lists, from -1 to 1; equal numbers share their mean rank.

    Args:
        left: Numbers, [N].
        right: As many, [N].
        counts: How often each pair counts, [N]. None: once.

    Returns:
        0 where one side is constant: it says nothing of the other. Not a number where either side has one that is none.
    """
    left, right = _written_out(left, counts), _written_out(right, counts)
    if np.isnan(left).any() or np.isnan(right).any():
        return float("nan")
    return _correlation(_ranks(left), _ranks(right))


def pearson(left: Numbers, right: Numbers, *, counts: NDArray[np.int64] | None = None) -> float:
    """The linear correlation of two lists, from -1 to 1.

    Args:
        left: Numbers, [N].
        right: As many, [N].
        counts: How often each pair counts, [N]. None: once.

    Returns:
        0 where one side is constant: it says nothing of the other. Not a number where either side is not finite.
    """
    left, right = _written_out(left, counts), _written_out(right, counts)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return float("nan")
    return _correlation(left, right)


def _written_out(values: Numbers, counts: NDArray[np.int64] | None) -> Numbers:
    return values if counts is None else np.repeat(values, counts)


def _ranks(values: Numbers) -> Numbers:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    middles = sizes.cumsum() - (sizes - 1) / 2
    return np.asarray(middles[group])


def _correlation(left: Numbers, right: Numbers) -> float:
    # Compared, not by a variance of 0: the mean of equal numbers may differ from them in the last bit.
    if (left == left[:1]).all() or (right == right[:1]).all():
        return 0.0
    return float(np.clip(_standard(left) @ _standard(right), -1, 1))


def _standard(values: Numbers) -> Numbers:
    centred = values - values.mean()
    centred /= np.abs(centred).max()  # first to size 1, so that no square is lost or overflows
    return np.asarray(centred / np.linalg.norm(centred))
