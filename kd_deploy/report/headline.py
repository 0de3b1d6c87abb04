"""The verdict in one sentence."""

from collections.abc import Iterator, Sequence

from kd_deploy.report.cells import Cell, percent, points, ratio_text, words
from kd_deploy.report.model import Comparison, Report
from kd_deploy.report.roles import judged_student


def headline(report: Report) -> tuple[Cell, ...]:
    """The sentence in pieces, each figure a piece of its own: quality kept, speed, size, gates."""
    student = judged_student(report.targets)
    compared = next((one for one in report.comparison if student and one.target == student.name), None)
    if compared is None:
        return (words("No student was held against a teacher."),)
    clauses = list(_clauses(compared, report.main_metric))
    if not clauses:
        return (*_alone(compared, report), *_gates(report))
    return (words(f"{compared.target} "), *_listed(clauses), words("."), *_gates(report))


def headline_text(report: Report) -> str:
    """The sentence as plain text."""
    return "".join(piece.text for piece in headline(report))


def _alone(compared: Comparison, report: Report) -> Iterator[Cell]:
    taught = report.differences[0] if report.differences else None
    if compared.against is not None or taught is None or taught.points is None:
        yield words(f"{compared.target} could not be held against its teacher.")
        return
    yield words(f"{compared.target} has no teacher beside it; what one taught it adds ")
    yield points(taught.points)
    yield words(f" points of {taught.metric} to labels alone.")


def _clauses(compared: Comparison, metric: str) -> Iterator[tuple[Cell, ...]]:
    if compared.retained is not None:
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


def _gates(report: Report) -> Iterator[Cell]:
    missed = [gate.name for gate in report.gates if not gate.passed]
    if missed:
        yield words(f" It does not pass {', '.join(missed)}.", state="failed")
    elif report.gates:
        yield words(" It passes every gate.", state="passed")
