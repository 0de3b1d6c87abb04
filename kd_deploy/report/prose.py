"""What surrounds the tables: the machine, the data, and how the figures are to be read."""

from kd_deploy.report import cells
from kd_deploy.report.cells import Cell
from kd_deploy.report.model import Report

Facts = tuple[tuple[str, Cell], ...]

READING = (
    (
        "retained is the target's main metric divided by the teacher's. low and high bound it: rows of the test data "
        "are drawn with replacement many times, the same rows for every target, and the middle of the results is kept."
    ),
    "agreement is the share of rows to which the target gives the teacher's own answer.",
    (
        "p50 ms is the median time from a text to its answer, one text at a time, tokenising included; "
        "speedup is the teacher's over the target's, on the same provider with as many threads."
    ),
    (
        "The time of one forward pass leaves tokenising out: the bare model over a batch of that many texts, "
        "each exactly that many tokens long."
    ),
    "texts/s is taken over many texts given at once, with their real lengths.",
    (
        "Each target runs in a process of its own. Targets take turns: a slow minute of the machine hits them all; "
        "warm-up runs are not counted."
    ),
    (
        "peak MiB is the largest resident memory of that process, the interpreter included; "
        "idle MiB is the process before it imported anything."
    ),
    "MB is a million bytes, MiB is a mebibyte. A dash is a figure that was not measured; a table says why.",
)


def records(report: Report) -> tuple[tuple[str, Facts], ...]:
    """Titled lists of facts: data, environment, intervals."""
    return (("Data", _data(report)), ("Environment", _environment(report)), ("Intervals", _intervals(report)))


def _data(report: Report) -> Facts:
    return (
        ("name", cells.words(report.data.name)),
        ("split", cells.words(report.data.split)),
        ("rows", cells.whole(report.data.n)),
        ("SHA-256", cells.words(report.data.sha256)),
    )


def _environment(report: Report) -> Facts:
    here = report.environment
    return (
        ("processor", cells.words(here.cpu)),
        ("features", cells.words(", ".join(here.features) or "none that matter")),
        ("cores", cells.whole(here.cores)),
        ("memory, GiB", Cell(text=f"{here.memory_bytes / cells.GIBI:.1f}", value=here.memory_bytes)),
        ("platform", cells.words(here.platform)),
        ("python", cells.words(here.python)),
        *((name, cells.words(version)) for name, version in here.versions.items()),
    )


def _intervals(report: Report) -> Facts:
    how = report.bootstrap
    return (
        ("level", cells.percent(how.level)),
        ("resamples", cells.whole(how.resamples)),
        ("seed", cells.whole(how.seed)),
    )
