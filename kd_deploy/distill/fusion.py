"""Several teachers as one: their class distributions, or their numbers, fused text by text."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kd_deploy.distill.selection import Values, class_probabilities, entropy
from kd_deploy.errors import ShapeError

Fusion = Literal["weights", "confidence", "best_per_class"]
SMALLEST = 1e-7  # of a probability: below it the logarithm says nothing more


def fuse(
    logits: Sequence[NDArray[np.floating]],
    *,
    weights: Sequence[float],
    how: Fusion = "weights",
    class_scores: NDArray[np.floating] | None = None,
    multi: bool = False,
) -> NDArray[np.float32]:
    """The logits [N, C] of one teacher that answers as all of them together.

    `weights` takes the weighted mean of the probabilities. `confidence` weighs each teacher, text by text, by
    how far its entropy lies below that of a teacher that knows nothing, times its weight. `best_per_class`
    takes the probability of each class from the teacher that tells this class best.

    Args:
        logits: Of each teacher, [N, C], classes in the same order.
        weights: Of each teacher, 0 or above, not all 0.
        how: As above.
        class_scores: How well each teacher tells each class, [teachers, C]; `best_per_class` alone needs them.
        multi: Whether a text may have several classes. Then each class is a yes or no of its own.

    Returns:
        Log-probabilities; with several classes a text, the log-odds of each.

    Raises:
        ShapeError: The teachers do not have the same rows and classes.
    """
    shapes = {one.shape for one in logits}
    if len(shapes) != 1 or len(weights) != len(logits):
        raise ShapeError(f"{len(logits)} teachers with logits {sorted(shapes)} and {len(weights)} weights")
    p = np.stack([class_probabilities(one, multi=multi) for one in logits])  # [T, N, C]
    if how == "best_per_class":
        fused = _from_the_best(p, class_scores, multi=multi)
    else:
        share = np.asarray(weights, dtype=np.float64)[:, None] * np.ones(p.shape[:2])  # [T, N]
        if how == "confidence":
            share = share * np.stack([_confidence(one, multi=multi) for one in logits])
        share = share / share.sum(axis=0)
        fused = (share[:, :, None] * p).sum(axis=0)
    sure = np.clip(fused, SMALLEST, 1 - SMALLEST)
    return (np.log(sure) - np.log1p(-sure) if multi else np.log(sure)).astype(np.float32)


def mean_of(numbers: Sequence[NDArray[np.floating]], *, weights: Sequence[float]) -> NDArray[np.float32]:
    """The weighted mean of what teachers answer with a number, [N, 1] each.

    Raises:
        ShapeError: The teachers do not have the same rows.
    """
    shapes = {one.shape for one in numbers}
    if len(shapes) != 1 or len(weights) != len(numbers):
        raise ShapeError(f"{len(numbers)} teachers with numbers {sorted(shapes)} and {len(weights)} weights")
    return np.average(np.stack(numbers), axis=0, weights=weights).astype(np.float32)


def _confidence(logits: NDArray[np.floating], *, multi: bool) -> Values:
    """How far the entropy is below the largest there is, [N], above 0 to 1."""
    return np.maximum(1 - entropy(logits, multi=multi, normalised=True), SMALLEST)


def _from_the_best(p: Values, class_scores: NDArray[np.floating] | None, *, multi: bool) -> Values:
    if class_scores is None or class_scores.shape != (p.shape[0], p.shape[2]):
        shape = None if class_scores is None else list(class_scores.shape)
        raise ShapeError(f"class scores are {shape}, not [{p.shape[0]}, {p.shape[2]}]")
    best = class_scores.argmax(axis=0)  # [C]
    chosen = p[best, :, np.arange(len(best))].T  # [N, C]
    return chosen if multi else chosen / chosen.sum(axis=1, keepdims=True)
