"""The verdict in one sentence."""

from collections.abc import Iterator, Sequence

from kd_deploy.measurement import LOWER_IS_BETTER
from kd_deploy.report.cells import Cell, percent, points, ratio_text, words
from kd_deploy.report.model import Comparison, Difference, Report
from kd_deploy.report.roles import judged_student, main_quality


def headline(report: Report) -> tuple[Cell, ...]:
    """The sentence in pieces, each figure a piece of its own: quality kept, speed, size, gates."""
    student = judged_student(report.targets)
    compared = next((one for one in report.comparison if student and one.target == student.name), None)
    if compared is None:
        return (words("No student was held against a teacher."),)
    clauses = list(_clauses(compared, report.main_metric))
    verdict = (*_harm(compared, report), *_gates(report, compared.target))
    if not clauses:
        return (*_alone(compared, report), *verdict)
    return (words(f"{compared.target} "), *_listed(clauses), words("."), *verdict)


def headline_text(report: Report) -> str:
    """The sentence as plain text."""
    return "".join(piece.text for piece in headline(report))


def _alone(compared: Comparison, report: Report) -> Iterator[Cell]:
    taught = _difference(compared, report)
    if compared.against is None and taught is None:
        yield words("No teacher is in this report: its figures stand side by side.")
        return
    if compared.against is not None or taught is None or taught.points is None:
        yield words(f"{compared.target} could not be held against its teacher.")
        return
    yield words(f"{compared.target} has no teacher beside it; what one taught it adds ")
    yield points(taught.points)
    yield words(f" points of {taught.metric} to labels alone.")


def _difference(compared: Comparison, report: Report) -> Difference | None:
    """What the teacher added in the same run."""
    run = compared.target.rpartition("/")[0]
    return next((one for one in report.differences if one.student.rpartition("/")[0] == run), None)


def _clauses(compared: Comparison, metric: str) -> Iterator[tuple[Cell, ...]]:
    if compared.retained and metric in LOWER_IS_BETTER:
        times = Cell(text=f"{1 / compared.retained:.3f}", value=1 / compared.retained)
        yield (words("has "), times, words(f" times the {compared.against}'s {metric}"))
    elif compared.retained is not None:
        yield (words("keeps "), percent(compared.retained), words(f" of the {compared.against}'s {metric}"))
    if compared.speedup is not None:
        speedup = Cell(text=ratio_text(compared.speedup), value=compared.speedup)
        yield (words("answers "), speedup, words(" times as fast"))
    if compared.smaller is not None:
        larger = compared.smaller < 1
        ratio = 1 / compared.smaller if larger else compared.smaller
        yield (
            words("is "),
            Cell(text=ratio_text(ratio), value=ratio),
            words(f" times {'larger' if larger else 'smaller'}"),
        )


def _listed(clauses: Sequence[tuple[Cell, ...]]) -> Iterator[Cell]:
    for position, clause in enumerate(clauses):
        if position:
            yield words(" and " if position == len(clauses) - 1 else ", ")
        yield from clause


def _harm(compared: Comparison, report: Report) -> Iterator[Cell]:
    """What nobody should overlook: a teacher that is worth nothing, a student that was better off without one."""
    teacher = next((one for one in report.targets if one.name == compared.against), None)
    if main_quality(teacher, report.main_metric) == 0:
        yield words(f" The {compared.against}'s {report.main_metric} is 0: there was nothing to learn.", state="failed")
    taught = _difference(compared, report)
    if taught and taught.points is not None and taught.high is not None and taught.high < 0:
        lost = f" Distillation cost it {-taught.points:.2f} points of {taught.metric}: on labels alone it is better."
        yield words(lost, state="failed")


def _gates(report: Report, target: str) -> Iterator[Cell]:
    missed: dict[str | None, list[str]] = {}
    for gate in report.gates:
        if not gate.passed:
            missed.setdefault(gate.target, []).append(gate.name)
    if any(gate.target == target for gate in report.gates) and target not in missed:
        yield words(" It passes every gate.", state="passed")
    for name, gates in missed.items():
        yield words(f" {'It' if name in (target, None) else name} does not pass {', '.join(gates)}.", state="failed")
