"""Each target against the teacher: ratios, and why one of them is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_deploy.measurement import LOWER_IS_BETTER
from kd_deploy.report.bootstrap import Interval, interval, retained_samples
from kd_deploy.report.model import Comparison, Target
from kd_deploy.report.reasons import join_reasons
from kd_deploy.report.roles import find_teacher, main_quality, p50_ms

Scores = Mapping[str, NDArray[np.float64]]
NO_INTERVAL = "the rows were not answered one by one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A quotient, or why there is none."""

    value: float | None
    reason: str | None = None


def comparisons(targets: Sequence[Target], *, metric: str, scores: Scores) -> Iterator[Comparison]:
    """An entry for every target but the teacher.

    Quality and size do not change with the provider; time and memory are held only against the
    teacher on the same provider with as many threads.
    """
    teacher_name = find_teacher(targets)
    teachers = [one for one in targets if one.name == teacher_name]
    for target in targets:
        if target.name == teacher_name:
            continue
        if not teachers:
            yield _without_teacher(target)
            continue
        place = (target.provider, target.threads)
        there = f" on {target.provider}, threads {target.threads}" if target.provider else ""
        like = next((one for one in teachers if (one.provider, one.threads) == place), None)
        ratios = {
            "retained": share_kept(main_quality(target, metric), main_quality(teachers[0], metric), metric=metric),
            "smaller": ratio(teachers[0].size_bytes, target.size_bytes, what="the size"),
            "speedup": ratio(p50_ms(like), p50_ms(target), what="the time from text to answer" + there),
            "memory_ratio": ratio(_peak_bytes(target), _peak_bytes(like), what="the memory" + there),
        }
        sure = retained_interval(target.name, teachers[0].name, metric=metric, scores=scores)
        yield _entry(target, teachers[0].name, ratios=ratios, sure=sure)


def _without_teacher(target: Target) -> Comparison:
    missing = Ratio(value=None, reason="there is no teacher among the targets")
    ratios = dict.fromkeys(("retained", "smaller", "speedup", "memory_ratio"), missing)
    return _entry(target, None, ratios=ratios, sure=None)


def _entry(target: Target, against: str | None, *, ratios: Mapping[str, Ratio], sure: Interval | None) -> Comparison:
    unsure = ratios["retained"].reason or (None if sure else NO_INTERVAL)
    reasons = {name: one.reason for name, one in ratios.items()}
    return Comparison(
        target=target.name,
        against=against,
        provider=target.provider,
        threads=target.threads,
        retained=ratios["retained"].value,
        retained_low=None if unsure or not sure else sure.low,
        retained_high=None if unsure or not sure else sure.high,
        speedup=ratios["speedup"].value,
        smaller=ratios["smaller"].value,
        memory_ratio=ratios["memory_ratio"].value,
        reason=join_reasons(reasons | {"retained_low": unsure, "retained_high": unsure}),
    )


def share_kept(student: float | None, teacher: float | None, *, metric: str) -> Ratio:
    """How much of the teacher's score a student keeps: of a perplexity, the teacher's over the student's."""
    if teacher is not None and teacher < 0:  # a correlation: less of it would be more
        return Ratio(value=None, reason=f"the teacher's {metric} is below zero")
    if metric in LOWER_IS_BETTER:
        return ratio(teacher, student, what=metric)
    return ratio(student, teacher, what=metric)


def ratio(above: float | None, below: float | None, *, what: str) -> Ratio:
    """One number over another; `what` they are is for the reason why there is no quotient."""
    if above is None or below is None:
        return Ratio(value=None, reason=f"{what} is not known for both")
    if below == 0:
        return Ratio(value=None, reason=f"{what} is zero")
    return Ratio(value=above / below)


def _peak_bytes(target: Target | None) -> int | None:
    return target.memory.peak_rss_bytes if target and target.memory else None


def retained_interval(target: str, teacher: str, *, metric: str, scores: Scores) -> Interval | None:
    """Where the share of the teacher's score that a target keeps would fall with other rows; None: not known."""
    if target not in scores or teacher not in scores:
        return None
    above, below = (teacher, target) if metric in LOWER_IS_BETTER else (target, teacher)
    return interval(retained_samples(scores[above], scores[below]))
