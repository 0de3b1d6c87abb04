"""The table of a student's further tasks."""

from kd_deploy.report import cells
from kd_deploy.report.cells import Cell
from kd_deploy.report.model import Report, TaskFigures
from kd_deploy.report.table import Table


def tasks_table(report: Report) -> Table:
    """A row for every target of every further task; its own teacher first."""
    return Table(
        title="Further tasks of the same student",
        columns=("task", "target", "metric", "value", "retained", "low", "high", "agreement", "rows"),
        rows=tuple(_row(one) for one in report.tasks),
    )


def _row(one: TaskFigures) -> tuple[Cell, ...]:
    kept = (one.retained, one.retained_low, one.retained_high)
    held_against = one.role == "teacher" and one.retained is None
    return (
        cells.words(one.task),
        cells.words(one.target, state=one.role),
        cells.words(one.metric),
        cells.percent(one.quality, one.reason),
        *(cells.words("") if held_against else cells.percent(value, one.reason) for value in kept),
        cells.percent(one.agreement, one.reason),
        cells.whole(one.n),
    )
