"""Whether the last student keeps to the limits of the recipe."""

from collections.abc import Sequence

from kd_deploy.recipe import Gates
from kd_deploy.report.model import Comparison, Gate, GateName, Target
from kd_deploy.report.roles import judged_student

BYTES_PER_MB = 1e6


def judge(targets: Sequence[Target], comparison: Sequence[Comparison], *, gates: Gates) -> tuple[Gate, ...]:
    """A verdict on the last student for every limit that is set; an unknown value does not pass."""
    student = judged_student(targets)
    compared = next((one for one in comparison if student and one.target == student.name), None)
    found: tuple[tuple[GateName, float | None, float | None], ...] = (
        ("min_retained", gates.min_retained, compared.retained if compared else None),
        ("min_speedup", gates.min_speedup, compared.speedup if compared else None),
        ("max_size_mb", gates.max_size_mb, _megabytes(student)),
    )
    why = _why_unknown(student, compared)
    return tuple(
        Gate(
            name=name,
            target=student.name if student else None,
            limit=limit,
            value=value,
            passed=value is not None and _keeps(name, value, limit=limit),
            reason=why if value is None else None,
        )
        for name, limit, value in found
        if limit is not None
    )


def _keeps(name: GateName, value: float, *, limit: float) -> bool:
    return value <= limit if name.startswith("max") else value >= limit


def _megabytes(student: Target | None) -> float | None:
    return student.size_bytes / BYTES_PER_MB if student and student.size_bytes is not None else None


def _why_unknown(student: Target | None, compared: Comparison | None) -> str:
    if student is None:
        return "there is no student among the targets"
    return (compared.reason if compared else None) or student.reason or "was not measured"
