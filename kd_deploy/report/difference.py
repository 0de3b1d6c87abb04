"""What distillation itself gave: the student minus the same student trained on labels alone.

Of a perplexity a point is a hundredth of a nat a token, about a per cent of it.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from kd_deploy.measurement import LOWER_IS_BETTER, worth
from kd_deploy.report.bootstrap import Interval, interval
from kd_deploy.report.comparison import NO_INTERVAL, Scores
from kd_deploy.report.model import Difference, Target
from kd_deploy.report.reasons import join_reasons
from kd_deploy.report.roles import main_quality


def differences(targets: Sequence[Target], *, metric: str, scores: Scores) -> Iterator[Difference]:
    """An entry for every control and the students of its form; the first student where none has it.

    A student of another precision would carry the cost of quantisation into the difference.
    """
    students = _once(targets, "student")
    for control in _once(targets, "control"):
        form = (control.runtime, control.precision)
        alike = [one for one in students if (one.runtime, one.precision) == form]
        for student in alike or students[:1]:
            yield _difference(
                student, control, metric=metric, sure=_sure(student.name, control.name, metric=metric, scores=scores)
            )


def _once(targets: Sequence[Target], role: str) -> list[Target]:
    # A target measured on several providers has one quality.
    return list({one.name: one for one in targets if one.role == role}.values())


def _difference(student: Target, control: Target, *, metric: str, sure: Interval | None) -> Difference:
    ours, theirs = main_quality(student, metric), main_quality(control, metric)
    points = None if ours is None or theirs is None else 100 * (worth(metric, ours) - worth(metric, theirs))
    unknown = f"the {metric} of both is needed" if points is None else None
    unsure = unknown or (None if sure else NO_INTERVAL)
    return Difference(
        student=student.name,
        control=control.name,
        metric=metric,
        points=points,
        low=None if unsure or not sure else sure.low,
        high=None if unsure or not sure else sure.high,
        reason=join_reasons({"points": unknown, "low": unsure, "high": unsure}),
    )


def _sure(student: str, control: str, *, metric: str, scores: Scores) -> Interval | None:
    if student not in scores or control not in scores:
        return None
    ours, theirs = scores[student], scores[control]
    return interval(100 * (np.log(theirs / ours) if metric in LOWER_IS_BETTER else ours - theirs))
