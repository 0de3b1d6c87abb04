"""The verdict in one sentence."""

from collections.abc import Iterator, Sequence

from kd_deploy.measurement import LOWER_IS_BETTER
from kd_deploy.report.cells import Cell, megabytes, percent, plain, points, ratio_text, words
from kd_deploy.report.model import Comparison, Difference, Report, Target
from kd_deploy.report.roles import judged_student, main_quality


def headline(report: Report) -> tuple[Cell, ...]:
    """The sentence in pieces, each figure a piece of its own: quality kept, speed, size, gates."""
    student = judged_student(report.targets)
    compared = next((one for one in report.comparison if student and one.target == student.name), None)
    if compared is None:
        return (words("No student was held against a teacher."),)
    clauses = list(_clauses(compared, report))
    verdict = [piece for told in (_guesser, _taught, _further, _gates) for piece in told(compared, report)]
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
    elif compared.against is not None or taught is None or taught.points is None:
        yield words(f"{compared.target} could not be held against its teacher.")
    else:
        yield words(f"{compared.target} has no teacher beside it.")


def _difference(compared: Comparison, report: Report) -> Difference | None:
    """What the teacher added in the same run."""
    run = compared.target.rpartition("/")[0]
    return next((one for one in report.differences if one.student.rpartition("/")[0] == run), None)


def _clauses(compared: Comparison, report: Report) -> Iterator[tuple[Cell, ...]]:
    metric, student, teacher = report.main_metric, _named(compared.target, report), _named(compared.against, report)
    if compared.retained is not None and metric in LOWER_IS_BETTER:
        own, others = plain(main_quality(student, metric)), plain(main_quality(teacher, metric))
        yield (words(f"has a {metric} of "), own, words(f" against the {compared.against}'s "), others)
    elif compared.retained is not None:
        yield (words("keeps "), percent(compared.retained), words(f" of the {compared.against}'s {metric}"))
    if compared.speedup is not None:
        speedup = Cell(text=ratio_text(compared.speedup), value=compared.speedup)
        yield (words("answers "), speedup, words(" times as fast"))
    if compared.smaller is not None and compared.smaller >= 1:
        smaller = Cell(text=ratio_text(compared.smaller), value=compared.smaller)
        yield (words("is "), smaller, words(" times smaller"))
    elif compared.smaller is not None and student and teacher:
        own, others = megabytes(student.size_bytes), megabytes(teacher.size_bytes)
        yield (words("is larger, with "), own, words(f" MB against the {compared.against}'s "), others)


def _named(name: str | None, report: Report) -> Target | None:
    return next((one for one in report.targets if one.name == name), None)


def _listed(clauses: Sequence[tuple[Cell, ...]]) -> Iterator[Cell]:
    for position, clause in enumerate(clauses):
        if position:
            yield words(" and " if position == len(clauses) - 1 else ", ")
        yield from clause


def _guesser(compared: Comparison, report: Report) -> Iterator[Cell]:
    """A teacher that nobody can learn from, as far as its main metric tells."""
    found, guess = main_quality(_named(compared.against, report), report.main_metric), report.data.guess
    if found == 0:
        yield words(f" The {compared.against}'s {report.main_metric} is 0: there was nothing to learn.", state="failed")
    elif found is not None and guess is not None and found <= guess:
        said = "is right no more often than always saying the commonest class"
        yield words(f" The {compared.against} {said} (", state="failed")
        yield percent(guess)
        yield words(").", state="failed")


def _taught(compared: Comparison, report: Report) -> Iterator[Cell]:
    """What the teacher gave, beside labels alone."""
    taught = _difference(compared, report)
    if taught is None or taught.points is None:
        return
    meaning, state = ", which may be chance.", ""
    if taught.low is None or taught.high is None or taught.low > 0:
        meaning = " against labels alone."
    elif taught.high < 0:
        meaning, state = ": on labels alone it is better.", "failed"
    unit = " (hundredths of its logarithm, more are better)" if taught.metric in LOWER_IS_BETTER else ""
    yield words(f" Distillation brought {taught.student} ", state=state)
    yield points(taught.points)
    yield words(f" points of {taught.metric}{unit}{meaning}", state=state)


def _further(compared: Comparison, report: Report) -> Iterator[Cell]:
    """What it keeps of its other tasks."""
    for one in report.tasks:
        if one.target == compared.target and one.retained is not None:
            yield words(f" On {one.task} it keeps ")
            yield percent(one.retained)
            yield words(f" of the teacher's {one.metric}.")


def _gates(compared: Comparison, report: Report) -> Iterator[Cell]:
    target = compared.target
    missed: dict[str | None, list[str]] = {}
    for gate in report.gates:
        if not gate.passed:
            missed.setdefault(gate.target, []).append(gate.name)
    if any(gate.target == target for gate in report.gates) and target not in missed:
        yield words(" It passes every gate.", state="passed")
    for name, gates in missed.items():
        yield words(f" {'It' if name in (target, None) else name} does not pass {', '.join(gates)}.", state="failed")
