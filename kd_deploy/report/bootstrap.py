"""How sure a number is: the paired bootstrap over the rows of the test data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kd_deploy.measurement import Evaluated, Evaluation
from kd_deploy.report.model import Bootstrap

SETTINGS = Bootstrap(level=0.95, resamples=1000, seed=0)

Answers = Sequence[tuple[int, ...]]


class Score(Protocol):
    """A task's scoring function: what predictions are worth against references."""

    def __call__(self, predictions: Answers, references: Answers, /, *, class_count: int) -> Mapping[str, float]:
        """Every metric by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the number would fall with other test rows, `Bootstrap.level` of the time."""

    low: float
    high: float


def resampled_scores(
    evaluation: Evaluation, score: Score, *, settings: Bootstrap = SETTINGS
) -> dict[str, NDArray[np.float64]]:
    """The main metric of every target on many resamples of the rows, [R] each, by the target's name.

    Every resample draws the same rows for all targets, so that their differences and ratios are paired.
    A target without an answer for every row is left out.
    """
    targets = [one for one in evaluation.targets if 0 < len(one.predictions) == len(evaluation.references)]
    if not targets:
        return {}
    if evaluation.main_metric == "accuracy":
        scores = _accuracies(targets, evaluation, settings=settings)  # [R, T]
    else:
        scores = _scores(targets, evaluation, score=score, settings=settings)  # [R, T]
    return {one.target.name: scores[:, column] for column, one in enumerate(targets)}


def interval(samples: NDArray[np.float64], *, level: float = SETTINGS.level) -> Interval | None:
    """The middle `level` of the samples; None where none of them is finite."""
    finite = samples[np.isfinite(samples)]
    if not finite.size:
        return None
    outside = 100 * (1 - level) / 2
    low, high = np.percentile(finite, [outside, 100 - outside])
    return Interval(low=float(low), high=float(high))


def retained_samples(student: NDArray[np.float64], teacher: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ratio of the two scores on each resample, [R]; not a number where the teacher scores 0."""
    return np.divide(student, teacher, out=np.full_like(student, np.nan), where=teacher != 0)


def _draws(rows: int, settings: Bootstrap) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(settings.seed)
    for _ in range(settings.resamples):
        yield generator.integers(0, rows, size=rows)


def _accuracies(targets: Sequence[Evaluated], evaluation: Evaluation, *, settings: Bootstrap) -> NDArray[np.float64]:
    right = np.array(
        [[a == b for a, b in zip(one.predictions, evaluation.references, strict=True)] for one in targets]
    )  # [T, N]
    return np.array([right[:, rows].mean(axis=1) for rows in _draws(right.shape[1], settings)])


def _scores(
    targets: Sequence[Evaluated], evaluation: Evaluation, *, score: Score, settings: Bootstrap
) -> NDArray[np.float64]:
    def worth(predictions: Answers, rows: Sequence[int]) -> float:
        drawn, references = [predictions[row] for row in rows], [evaluation.references[row] for row in rows]
        return score(drawn, references, class_count=evaluation.class_count)[evaluation.main_metric]

    draws = (rows.tolist() for rows in _draws(len(evaluation.references), settings))
    return np.array([[worth(one.predictions, rows) for one in targets] for rows in draws])
