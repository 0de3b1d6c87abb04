"""Which unlabelled examples to have answered next: those from which the student has most to learn."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kd_deploy.distill.selection import Logits, Values, class_probabilities, entropy, surprise
from kd_deploy.errors import RecipeError, ShapeError

Strategy = Literal["random", "uncertainty", "margin", "disagreement", "diversity"]
CENTRES_AT_ONCE = 64


def choose(
    pool_logits: Logits,
    *,
    count: int,
    strategy: Strategy,
    representations: NDArray[np.floating] | None = None,
    second_logits: Logits | None = None,
    seed: int = 0,
    already: NDArray[np.bool_] | None = None,
    multi: bool = False,
) -> NDArray[np.int64]:
    """The rows of a pool that are worth an answer, best first; the earlier row where two are worth the same.

    `uncertainty` takes the largest entropy (Lewis and Gale 1994, "A sequential algorithm for training text
    classifiers"), `margin` the two likeliest classes that lie closest, `disagreement` the largest
    Jensen-Shannon divergence between two models, and `diversity` the rows that cover the pool best: always
    the one farthest from all that were taken (Sener and Savarese 2018, "Active learning for convolutional
    neural networks: a core-set approach", arXiv 1708.00489), beginning beside the mean where none was.

    Args:
        pool_logits: The student's, [M, C].
        count: Rows wanted, 0 or above. Where the pool has no more than that, all of it, in its order.
        strategy: What a row is judged by.
        representations: [M, H]; `diversity` alone needs them.
        second_logits: Of an earlier student, or of another pass with dropout, [M, C]; `disagreement` alone
            needs them.
        seed: Decides `random`; the others draw nothing.
        already: [M], the rows that are answered already and are not to be chosen; None for none of them.
        multi: Whether an example may have several labels. Then the margin is that of the class nearest to
            one half, and the divergence is a sum over the classes.

    Returns:
        Row numbers, [count], none twice.

    Raises:
        RecipeError: The count is below 0, or the strategy lacks its representations or second logits.
        ShapeError: Two inputs do not have the same rows or classes.
    """
    p = class_probabilities(pool_logits, multi=multi)
    taken = np.zeros(len(p), dtype=bool) if already is None else already
    if count < 0:
        raise RecipeError(f"the count of examples to choose is {count}", hint="give 0 or a number above")
    if taken.shape != (len(p),):
        raise ShapeError(f"already is {list(taken.shape)}, the pool has {len(p)} rows")
    if strategy == "diversity":
        return _farthest(_points(representations, rows=len(p)), taken, count=count)
    if strategy == "random":
        worth = np.random.default_rng(seed).random(len(p))
    elif strategy == "uncertainty":
        worth = entropy(pool_logits, multi=multi)
    elif strategy == "margin":
        worth = -_margin(p, multi=multi)
    else:
        worth = _divergence(p, _second(second_logits, p, multi=multi), multi=multi)
    return _best(worth, taken, count=count)


def _best(worth: Values, taken: NDArray[np.bool_], *, count: int) -> NDArray[np.int64]:
    free = np.flatnonzero(~taken)
    # Rounded: two rows that differ in the last bit alone are worth the same.
    return free if count >= len(free) else free[np.argsort(-np.round(worth[free], 12), kind="stable")[:count]]


def _points(representations: NDArray[np.floating] | None, *, rows: int) -> NDArray[np.floating]:
    if representations is None:
        raise RecipeError("diversity needs representations, and there are none", hint="choose another strategy")
    if representations.ndim != 2 or len(representations) != rows:  # noqa: PLR2004 - a matrix
        raise ShapeError(f"representations are {list(representations.shape)}, the pool has {rows} rows")
    return representations


def _second(logits: Logits | None, p: Values, *, multi: bool) -> Values:
    if logits is None:
        raise RecipeError("disagreement needs second logits, and there are none", hint="choose another strategy")
    if logits.shape != p.shape:
        raise ShapeError(f"second logits are {list(logits.shape)}, the pool's are {list(p.shape)}")
    return class_probabilities(logits, multi=multi)


def _margin(p: Values, *, multi: bool) -> Values:
    if multi:
        return np.asarray(np.abs(2 * p - 1).min(axis=1))
    ordered = np.sort(p, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2:-1].sum(axis=1))


def _divergence(p: Values, q: Values, *, multi: bool) -> Values:
    # Jensen-Shannon: the entropy of the mean less the mean of the entropies.
    if multi:
        p, q = np.hstack([p, 1 - p]), np.hstack([q, 1 - q])  # [M, 2C]
    terms = surprise((p + q) / 2) - (surprise(p) + surprise(q)) / 2
    return np.asarray(terms.sum(axis=1))


def _farthest(points: NDArray[np.floating], taken: NDArray[np.bool_], *, count: int) -> NDArray[np.int64]:
    free = np.flatnonzero(~taken)
    if count >= len(free):
        return free
    # About the mean, where the squares that are taken from each other are small.
    centred = (points - points.mean(axis=0, dtype=np.float64)).astype(np.float32)  # [M, H]
    squares = np.einsum("mh,mh->m", centred, centred)
    distance = np.full(len(centred), np.inf, dtype=np.float32)  # Squared, to the nearest row that is taken.
    centres = np.flatnonzero(taken)
    for start in range(0, len(centres), CENTRES_AT_ONCE):
        block = centres[start : start + CENTRES_AT_ONCE]
        apart = squares[:, None] + squares[block] - 2 * (centred @ centred[block].T)  # [M, centres]
        distance = np.fmin(distance, apart.min(axis=1))
    distance[taken] = -np.inf
    chosen: list[int] = []
    for _ in range(count):
        pick = int(distance.argmax() if chosen or len(centres) else squares.argmin())
        chosen.append(pick)
        distance = np.fmin(distance, squares + squares[pick] - 2 * (centred @ centred[pick]))
        distance[pick] = -np.inf
    return np.array(chosen, dtype=np.int64)
