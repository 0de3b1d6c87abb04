"""Which target is held against which: the teacher, the student that is judged, their main metric."""

from collections.abc import Sequence

from kd_deploy.report.model import Target


def find_teacher(targets: Sequence[Target]) -> str | None:
    """The name of the target that the others are held against: the first teacher, on torch where one is."""
    teachers = [one for one in targets if one.role == "teacher"]
    on_torch = [one for one in teachers if one.runtime == "torch"]
    return (on_torch or teachers)[0].name if teachers else None


def judged_student(targets: Sequence[Target]) -> Target | None:
    """The target that gates and headline speak of: the last student that was judged, as it was measured first."""
    students = [one for one in targets if one.role == "student"]
    students = [one for one in students if one.quality] or students
    return next((one for one in students if one.name == students[-1].name), None)


def main_quality(target: Target | None, metric: str) -> float | None:
    """The target's main metric, or None where it is not known."""
    return target.quality.get(metric) if target and target.quality else None


def p50_ms(target: Target | None) -> float | None:
    """The median time from text to answer, or None where it is not known."""
    return target.end_to_end.p50_ms if target and target.end_to_end else None
