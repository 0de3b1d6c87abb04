"""Every table of the report, once: the page, the markdown and the terminal show the same cells."""

from collections.abc import Sequence

from kd_deploy.report import cells
from kd_deploy.report.cells import Cell
from kd_deploy.report.model import Comparison, Report, Target
from kd_deploy.report.samples import samples_table
from kd_deploy.report.table import Table
from kd_deploy.report.task_table import tasks_table


def summary_table(report: Report) -> Table:
    """One row for every target: quality, speed, size and memory beside each other.

    Provider and threads have columns only where they differ between targets.
    """
    compared = {(one.target, one.provider, one.threads): one for one in report.comparison}
    many_places = _many_places(report)
    return Table(
        title="Targets",
        columns=(
            *("target", "precision", "runtime"),
            *(("provider", "threads") if many_places else ()),
            *(report.main_metric, "retained", "agreement", "p50 ms", "speedup", "texts/s", "size MB", "peak MiB"),
        ),
        rows=tuple(
            _summary_row(
                one, compared.get((one.name, one.provider, one.threads)), report=report, many_places=many_places
            )
            for one in report.targets
        ),
    )


def tables(report: Report) -> tuple[Table, ...]:
    """The tables under the summary, in reading order; one without rows is left out."""
    every = (
        tasks_table(report),
        _comparison(report),
        _differences(report),
        _changes(report),
        _latency(report),
        _end_to_end(report),
        _start_and_memory(report),
        samples_table(report),
        _not_measured(report),
    )
    return tuple(one for one in every if one.rows)


def gates_table(report: Report) -> Table:
    """The limits of the recipe and what was found."""
    return Table(
        title="Gates",
        columns=("gate", "target", "limit", "found", "verdict"),
        rows=tuple(
            (
                cells.words(one.name),
                cells.words(one.target or cells.NOT_MEASURED),
                cells.plain(one.limit),
                cells.plain(one.value, one.reason),
                cells.words("passed", state="passed") if one.passed else cells.words("not passed", state="failed"),
            )
            for one in report.gates
        ),
    )


def _summary_row(target: Target, compared: Comparison | None, *, report: Report, many_places: bool) -> tuple[Cell, ...]:
    why = target.reason
    quality = target.quality.get(report.main_metric) if target.quality else None
    place = _where(target.provider, target.threads, why)
    return (
        cells.words(target.name, state=target.role),
        cells.words(target.precision),
        cells.words(target.runtime),
        *(place if many_places else ()),
        cells.percent(quality, why) if _is_share(report) else cells.plain(quality, why),
        *_ratios(target, compared),
        cells.per_second(target.throughput.texts_per_s if target.throughput else None, why),
        cells.megabytes(target.size_bytes, why),
        cells.mebibytes(target.memory.peak_rss_bytes if target.memory else None, why),
    )


def _ratios(target: Target, compared: Comparison | None) -> tuple[Cell, ...]:
    why = target.reason
    agreement = cells.percent(target.agreement, why)
    p50 = cells.milliseconds(target.end_to_end.p50_ms if target.end_to_end else None, why)
    if compared is None:
        return (cells.words(""), agreement, p50, cells.words(""))  # the teacher, which the others are held against
    return (
        cells.percent(compared.retained, compared.reason),
        agreement,
        p50,
        cells.times(compared.speedup, compared.reason),
    )


def _is_share(report: Report) -> bool:
    return report.main_metric in {"accuracy", "f1", "macro_f1", "micro_f1"}


def _comparison(report: Report) -> Table:
    many_places = _many_places(report)
    return Table(
        title="Against the teacher",
        columns=(
            "target",
            *(("provider", "threads") if many_places else ()),
            *("against", "retained", "low", "high", "speedup", "smaller", "memory ratio"),
        ),
        rows=tuple(
            (
                cells.words(one.target),
                *(_where(one.provider, one.threads, one.reason) if many_places else ()),
                cells.words(one.against or cells.NOT_MEASURED),
                cells.percent(one.retained, one.reason),
                cells.percent(one.retained_low, one.reason),
                cells.percent(one.retained_high, one.reason),
                cells.times(one.speedup, one.reason),
                cells.times(one.smaller, one.reason),
                cells.times(one.memory_ratio, one.reason),
            )
            for one in report.comparison
        ),
    )


def _differences(report: Report) -> Table:
    return Table(
        title="Distilled minus trained on labels alone, in points",
        columns=("student", "control", "metric", "points", "low", "high"),
        rows=tuple(
            (
                *map(cells.words, (one.student, one.control, one.metric)),
                *(cells.points(value, one.reason) for value in (one.points, one.low, one.high)),
            )
            for one in report.differences
        ),
    )


def _changes(report: Report) -> Table:
    changes = report.baseline.changes if report.baseline else ()
    since = f"Against the report of {report.baseline.created}" if report.baseline else ""
    return Table(
        title=since,
        columns=("target", "provider", "threads", "metric", "points", "time, now ÷ then", "size, now ÷ then"),
        rows=tuple(
            (
                cells.words(one.target),
                *_where(one.provider, one.threads, one.reason),
                cells.words(one.metric),
                cells.points(one.quality_points, one.reason),
                cells.times(one.p50_ratio, one.reason),
                cells.times(one.size_ratio, one.reason),
            )
            for one in changes
        ),
    )


def _latency(report: Report) -> Table:
    return Table(
        title="Time of one forward pass, in ms",
        columns=("target", "provider", "threads", "batch", "tokens", "p50", "p90", "p99", "n"),
        rows=tuple(
            (
                *_place(target),
                cells.whole(one.batch_size),
                cells.whole(one.sequence_length),
                *(cells.milliseconds(value, one.reason) for value in (one.p50_ms, one.p90_ms, one.p99_ms)),
                cells.whole(one.n, one.reason),
            )
            for target in report.targets
            for one in target.latency or ()
        ),
    )


def _end_to_end(report: Report) -> Table:
    writes = any(one.end_to_end and one.end_to_end.tokens_per_s is not None for one in report.targets)
    return Table(
        title="From text to answer, one text at a time, in ms",
        columns=("target", "provider", "threads", "via", "p50", "p99", "n", *(("tokens/s",) if writes else ())),
        rows=tuple(
            (
                *_place(target),
                cells.words(target.end_to_end.via),
                cells.milliseconds(target.end_to_end.p50_ms),
                cells.milliseconds(target.end_to_end.p99_ms),
                cells.whole(target.end_to_end.n),
                *((cells.per_second(target.end_to_end.tokens_per_s),) if writes else ()),
            )
            for target in report.targets
            if target.end_to_end
        ),
    )


def _start_and_memory(report: Report) -> Table:
    return Table(
        title="Start and memory of a process that holds the target alone",
        columns=("target", "provider", "threads", "import ms", "load ms", "first answer ms", "idle MiB", "peak MiB"),
        rows=tuple(
            (
                *_place(target),
                *(cells.milliseconds(value) for value in _start(target)),
                cells.mebibytes(target.memory.baseline_rss_bytes if target.memory else None, target.reason),
                cells.mebibytes(target.memory.peak_rss_bytes if target.memory else None, target.reason),
            )
            for target in report.targets
            if target.start
        ),
    )


def _start(target: Target) -> Sequence[float | None]:
    start = target.start
    return (start.import_ms, start.load_ms, start.first_answer_ms) if start else (None, None, None)


def _not_measured(report: Report) -> Table:
    reasons = [(one.name, one.reason) for one in report.targets if one.reason]
    reasons += [(one.target, one.reason) for one in report.comparison if one.reason]
    reasons += [(one.student, one.reason) for one in report.differences if one.reason]
    reasons += [(one.target, one.reason) for one in (report.baseline.changes if report.baseline else ()) if one.reason]
    reasons += [(one.target or one.name, one.reason) for one in report.gates if one.reason]
    shapes = [(one.name, shape.reason) for one in report.targets for shape in one.latency or () if shape.reason]
    every = dict.fromkeys(reasons + shapes)
    return Table(
        title="Not measured, and why",
        columns=("target", "reason"),
        rows=tuple((cells.words(name), cells.words(reason)) for name, reason in every),
    )


def _place(target: Target) -> tuple[Cell, ...]:
    return (cells.words(target.name, state=target.role), *_where(target.provider, target.threads, target.reason))


def _where(provider: str | None, threads: int | None, reason: str | None) -> tuple[Cell, Cell]:
    return (cells.words(provider or cells.NOT_MEASURED), cells.whole(threads, reason))


def _many_places(report: Report) -> bool:
    return len({(one.provider, one.threads) for one in report.targets}) > 1
