"""How much the teacher counts on each row, and whether anything is left to learn from."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kd_deploy import progress
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.signals import Signals
from kd_deploy.distill.transfer import teacher_weights
from kd_deploy.distill.worth import tell_of_a_guesser
from kd_deploy.errors import RecipeError, TrainingError
from kd_deploy.recipe import Distill, HardLabels
from kd_deploy.tasks.task import Examples


def tell_of_the_server(examples: Examples, signals: Signals) -> None:
    """Hold its answers against the labels: they may stand in another order than was said."""
    rows = np.flatnonzero(signals.heard[: len(examples)])
    if not len(rows) or examples.labels.is_multi:
        return
    targets = [examples.targets[row] for row in rows]
    right = [(int(one),) == target for one, target in zip(signals.logits[rows].argmax(axis=1), targets, strict=True)]
    tell_of_a_guesser(float(np.mean(right)), targets, rows="training", check="teacher.endpoint.labels")


def counting(data: TrainingData, settings: Distill, *, answered: NDArray[np.bool_] | None = None) -> TrainingData:
    """The data with how much the teacher counts on each row, and without the rows from which nothing is learned.

    Args:
        data: With signals.
        settings: Whom to trust, and whether labels count.
        answered: The rows [N] that the teacher answered; None: all.
    """
    assert data.signals is not None  # noqa: S101 - the caller has just asked
    weights = teacher_weights(data.signals.logits, data.examples, settings.samples, answered=answered)
    by_label = any(isinstance(term, HardLabels) and not term.is_nothing for term in settings.objective)
    labelled = np.arange(len(weights)) < len(data.examples)
    rows = np.flatnonzero((weights > 0) | (labelled & by_label))
    progress.say(f"the teacher counts on {int((weights > 0).sum())} of {len(weights)} texts")
    return replace(data, signals=data.signals, weights=weights.astype(np.float32), rows=rows)


def leaves_nothing(data: TrainingData) -> bool:
    """Whether no row is learned from."""
    return data.rows is not None and not len(data.rows)


def require_rows(data: TrainingData, settings: Distill) -> None:
    """Refuse data of which no row is learned from.

    Raises:
        RecipeError: Where the limits of `samples` leave none.
        TrainingError: Where the teacher answered none.
    """
    if not leaves_nothing(data):
        return
    if settings.samples.all_count:
        raise TrainingError("the teacher named no label for any text", hint="change teacher.endpoint.prompt")
    raise RecipeError("distill.samples leaves no text to learn from", hint="lower min_confidence, or raise wrong")
