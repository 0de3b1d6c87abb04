"""How sure a number is: the paired bootstrap over the rows of the test data."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_deploy.measurement import Evaluation
from kd_deploy.report.model import Bootstrap
from kd_deploy.tasks.registry import task_of
from kd_deploy.tasks.task import LabelSpace

SETTINGS = Bootstrap(level=0.95, resamples=1000, seed=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the number would fall with other test rows, `Bootstrap.level` of the time."""

    low: float
    high: float


def resampled_scores(evaluation: Evaluation, *, settings: Bootstrap = SETTINGS) -> dict[str, NDArray[np.float64]]:
    """The main metric of every target on many resamples of the rows, [R] each, by the target's name.

    Every resample draws the same rows for all targets, so that their differences and ratios are paired.
    A target without an answer for every row is left out.
    """
    labels = LabelSpace(task=evaluation.task, names=evaluation.labels, problem_type=evaluation.problem_type)
    task, rows = task_of(labels), len(evaluation.references)
    targets = [one for one in evaluation.targets if 0 < len(one.predictions) == rows]
    if not targets:
        return {}
    scores = {}
    for one in targets:
        statistics = task.statistics(one.predictions, evaluation.references, labels)  # [N, K]
        worth = [task.metrics(statistics, counts)[evaluation.main_metric] for counts in _draws(rows, settings)]
        scores[one.target.name] = np.array(worth)
    return scores


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
    """How often each row is drawn, [N], resample after resample."""
    generator = np.random.default_rng(settings.seed)
    for _ in range(settings.resamples):
        yield np.bincount(generator.integers(0, rows, size=rows), minlength=rows)
