"""What a server's scores become: probabilities with no gaps, and what of them may be kept."""

import numpy as np
from numpy.typing import NDArray

from kd_deploy.distill.selection import class_probabilities

SMALLEST = 1e-6  # the least probability of a class


def fill(known: NDArray[np.float64], *, left: NDArray[np.float64], most: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of all classes from those of some, [B, C]; none is 0, each row sums to 1.

    Args:
        known: Probabilities, [B, C]; 0 where nothing is known.
        left: What the unknown classes of a row have together, [B]; they share it evenly.
        most: The most that one of them may have, [B].
    """
    unknown = known == 0
    share = np.minimum(left / np.maximum(unknown.sum(axis=1), 1), most)  # [B]
    floored = np.maximum(np.where(unknown, share[:, None], known), SMALLEST)  # [B, C]
    whole: NDArray[np.float64] = floored / floored.sum(axis=1, keepdims=True)
    return whole


def what_may_be_kept(scores: NDArray[np.float64], *, top_k: int | None, decimals: int | None) -> NDArray[np.float32]:
    """The scores, or the logarithms of what is left of their probabilities.

    A class beyond the likeliest `top_k`, or rounded to 0, is forgotten: the forgotten classes share evenly what
    the others leave, and none of them gets more than the least of the others. Rounded ones leave a quarter of their
    last decimal at least: so far, on average, lies below 1 what is rounded to it. The result depends on nothing else.

    Args:
        scores: Logits, [B, C].
        top_k: How many classes of a row to keep; None: all. The earlier class wins a tie.
        decimals: Of the probabilities; None: not rounded.

    Returns:
        Logits as they were where both limits are None, else log-probabilities, [B, C].
    """
    if top_k is None and decimals is None:
        return scores.astype(np.float32)
    probabilities = class_probabilities(scores, multi=False)  # [B, C]
    ranks = np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1)
    rounded = probabilities if decimals is None else probabilities.round(decimals)
    known = np.where(ranks < (top_k or scores.shape[1]), rounded, 0.0)
    left = np.maximum(0.0 if decimals is None else 10.0**-decimals / 4, 1.0 - known.sum(axis=1))  # [B]
    least = np.where(known == 0, np.inf, known).min(axis=1)  # [B]
    return np.log(fill(known, left=left, most=least)).astype(np.float32)
