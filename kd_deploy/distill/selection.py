"""Which examples count in training, and how much: by what the teacher's logits say of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import RecipeError, ShapeError
from kd_deploy.tasks.task import Classes
from kd_deploy.tasks.text_classification import indicator

Logits = NDArray[np.floating]
Values = NDArray[np.float64]


def class_probabilities(logits: Logits, *, multi: bool) -> Values:
    """The probability of every class: a distribution, or for several labels one yes or no each.

    Args:
        logits: [N, C], any float dtype.
        multi: Whether an example may have several labels.

    Returns:
        [N, C].

    Raises:
        ShapeError: The logits are no matrix with at least one class.
    """
    _check(logits)
    exact = logits.astype(np.float64)
    if multi:
        return np.asarray(0.5 * (1 + np.tanh(exact / 2)))
    raised = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def surprise(p: Values) -> Values:
    """What each probability adds to an entropy, -p log p, in nats: 0 at 0 and at 1."""
    return np.asarray(-p * np.log(np.where(p > 0, p, 1.0)))


def teacher_confidence(logits: Logits, *, multi: bool) -> Values:
    """How sure the teacher is of its answer, from a mere guess up to 1.

    Args:
        logits: The teacher's, [N, C].
        multi: Whether an example may have several labels.

    Returns:
        The largest probability, 1/C or above; for several labels the mean over the classes of the
        probability of the answer given, one half or above. [N].

    Raises:
        ShapeError: The logits are no matrix.
    """
    p = class_probabilities(logits, multi=multi)
    return np.asarray(np.maximum(p, 1 - p).mean(axis=1) if multi else p.max(axis=1))


def entropy(logits: Logits, *, multi: bool, normalised: bool = False) -> Values:
    """The entropy of the answer: 0 where it is certain, largest where every class is as likely.

    Args:
        logits: [N, C].
        multi: Whether an example may have several labels: then the sum over the classes' yes or no.
        normalised: Divide by the largest value there is, log C, or C log 2 for several labels.

    Returns:
        [N], in nats; from 0 to 1 where normalised.

    Raises:
        ShapeError: The logits are no matrix.
    """
    p = class_probabilities(logits, multi=multi)
    total = (surprise(p) + (surprise(1 - p) if multi else 0)).sum(axis=1)
    classes = p.shape[1]
    largest = classes * np.log(2) if multi else np.log(max(classes, 2))
    return np.asarray(total / largest if normalised else total)


def keep_confident(
    logits: Logits, *, threshold: float | None, top_share: float | None, multi: bool
) -> NDArray[np.bool_]:
    """Which examples the teacher is sure enough of; those that pass both limits where both are given.

    Args:
        logits: The teacher's, [N, C].
        threshold: Confidence that an example must have, from 0 to 1; None for no limit.
        top_share: Share of the examples, above 0 and at most 1, kept of each class that the teacher
            predicts: the most confident ones, at least one, the earlier row where two are as confident.
            For several labels an example stays where any of its classes keeps it; those without a class
            are a class of their own. None for all.
        multi: Whether an example may have several labels.

    Returns:
        [N].

    Raises:
        RecipeError: A limit out of its range.
        ShapeError: The logits are no matrix.
    """
    confidence = teacher_confidence(logits, multi=multi)
    kept = np.ones(len(logits), dtype=bool)
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise RecipeError(f"the confidence threshold is {threshold}", hint="give a number from 0 to 1")
        kept &= confidence >= threshold
    if top_share is not None:
        if not 0 < top_share <= 1:
            raise RecipeError(f"the top share is {top_share}", hint="give a share above 0 and at most 1")
        kept &= _top_of_each(confidence, _predicted(logits, multi=multi), share=top_share)
    return kept


def right_or_weight(
    logits: Logits, targets: Sequence[Classes], *, wrong: Literal["keep", "drop"] | float, multi: bool
) -> NDArray[np.float32]:
    """The weight of every example: 1 where the teacher is right, less where it is wrong.

    Args:
        logits: The teacher's, [N, C].
        targets: The class ids of every example.
        wrong: Weight of an example that the teacher gets wrong, from 0 to 1; "keep" is 1, "drop" is 0.
        multi: Whether an example may have several labels: then right means all of them and no other.

    Returns:
        [N].

    Raises:
        RecipeError: The weight is out of its range.
        ShapeError: Logits and targets differ in number, a target is outside the classes, or the logits are
            no matrix.
    """
    weight = {"keep": 1.0, "drop": 0.0}[wrong] if isinstance(wrong, str) else wrong
    if not 0 <= weight <= 1:
        raise RecipeError(f"the weight of wrong answers is {weight}", hint="give keep, drop or a number from 0 to 1")
    if len(targets) != len(logits):
        raise ShapeError(f"there are {len(logits)} rows of logits and {len(targets)} targets")
    predicted = _predicted(logits, multi=multi)
    right = (predicted == _indicator(targets, classes=logits.shape[1])).all(axis=1)
    return np.where(right, 1.0, weight).astype(np.float32)


def _check(logits: Logits) -> None:
    if logits.ndim != 2 or logits.shape[1] == 0:  # noqa: PLR2004 - a matrix
        raise ShapeError(f"logits are {list(logits.shape)}, not [examples, classes]")


def _predicted(logits: Logits, *, multi: bool) -> NDArray[np.bool_]:
    # An indicator, [N, C].
    _check(logits)
    if multi:
        return np.asarray(logits > 0)
    return np.asarray(np.arange(logits.shape[1]) == logits.argmax(axis=1)[:, None])


def _indicator(targets: Sequence[Classes], *, classes: int) -> NDArray[np.bool_]:
    for row, ids in enumerate(targets):
        if not all(0 <= one < classes for one in ids):
            raise ShapeError(f"target {list(ids)} of row {row} is outside the {classes} classes of the logits")
    return indicator(targets, classes)


def _top_of_each(confidence: Values, predicted: NDArray[np.bool_], *, share: float) -> NDArray[np.bool_]:
    kept = np.zeros(len(confidence), dtype=bool)
    groups = np.column_stack([predicted, ~predicted.any(axis=1)])  # [N, C + 1]
    for group in groups.T:
        rows = np.flatnonzero(group)
        best = rows[np.argsort(-confidence[rows], kind="stable")]
        kept[best[: max(1, round(share * len(rows)))]] = True
    return kept
