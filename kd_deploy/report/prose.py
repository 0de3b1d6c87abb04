"""What surrounds the tables: the machine, the data, and how the figures are to be read."""

from kd_deploy.measurement import LOWER_IS_BETTER
from kd_deploy.report import cells
from kd_deploy.report.cells import Cell
from kd_deploy.report.model import Report

Facts = tuple[tuple[str, Cell], ...]

ALIKE = {  # how two models' answers to the same rows are compared
    "text-classification": "the share of rows to which the target gives the teacher's own answer",
    "token-classification": "the share of words that the target tags as the teacher does",
    "question-answering": "the mean F1 between the words of the target's answer and of the teacher's",
    "sentence-similarity": "Spearman's correlation between the target's scores and the teacher's",
    "sentence-embedding": "how alike the target's vectors are to the teacher's, or the likeness of pairs that both see",
    "fill-mask": "the share of hidden words for which the target says what the teacher says",
    "text2text": "how alike the target's texts are to the teacher's: 1 where they are equal, else their chrF",
    "text-generation": "the share of tokens after which the target says the same next one as the teacher",
}
POINTS_OF_LOGARITHMS = "A point of {metric} is a hundredth of its natural logarithm; more points are better."
READING = (
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


def reading(report: Report) -> tuple[str, ...]:
    """How the figures of a report are to be read, line by line."""
    metric = report.main_metric
    less = f"the teacher's {metric} divided by the target's, since less of it is better"
    retained = less if metric in LOWER_IS_BETTER else f"the target's {metric} divided by the teacher's"
    return (
        (
            f"retained is {retained}. low and high bound it: rows of the test data are drawn with replacement many "
            "times, the same rows for every target, and the middle of the results is kept."
        ),
        f"agreement is {ALIKE[report.task]}.",
        *((POINTS_OF_LOGARITHMS.format(metric=metric),) if metric in LOWER_IS_BETTER else ()),
        *READING,
    )


def records(report: Report) -> tuple[tuple[str, Facts], ...]:
    """Titled lists of facts: data, environment, intervals."""
    return (("Data", _data(report)), ("Environment", _environment(report)), ("Intervals", _intervals(report)))


def _data(report: Report) -> Facts:
    return (
        ("name", cells.words(report.data.name)),
        ("split", cells.words(report.data.split)),
        ("rows", cells.whole(report.data.n)),
        *((("commonest class", cells.percent(report.data.guess)),) if report.data.guess is not None else ()),
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
