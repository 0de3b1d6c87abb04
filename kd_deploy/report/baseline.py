"""A report against an earlier one: what became better or worse since."""

from collections.abc import Iterator
from dataclasses import replace

from kd_deploy.errors import BenchmarkError
from kd_deploy.measurement import worth
from kd_deploy.report.model import Baseline, Change, Report, Target
from kd_deploy.report.reasons import join_reasons
from kd_deploy.report.roles import main_quality, p50_ms

Key = tuple[str, str | None, int | None]


def against_baseline(report: Report, baseline: Report) -> Report:
    """The report with the changes since `baseline` in it, target by target.

    Targets are matched by name, provider and threads. A quality on other rows is not compared; times
    of another machine are, with a note.

    Raises:
        BenchmarkError: The two are about different tasks.
    """
    if report.task != baseline.task:
        raise BenchmarkError(
            f"the earlier report is about {baseline.task}, and this one about {report.task}",
            hint="give an earlier report of the same task",
        )
    changes = tuple(_changes(report, baseline))
    return replace(
        report,
        baseline=Baseline(created=baseline.created, changes=changes),
        notes=(*report.notes, *_notes(report, baseline)),
    )


def _changes(report: Report, baseline: Report) -> Iterator[Change]:
    now = {_key(one): one for one in report.targets}
    then = {_key(one): one for one in baseline.targets}
    same_rows = report.data.sha256 == baseline.data.sha256 and report.main_metric == baseline.main_metric
    for key in {**now, **then}:
        yield _change(now.get(key), then.get(key), key=key, metric=report.main_metric, same_rows=same_rows)


def _key(target: Target) -> Key:
    return (target.name, target.provider, target.threads)


def _change(now: Target | None, then: Target | None, *, key: Key, metric: str, same_rows: bool) -> Change:
    name, provider, threads = key
    ours, theirs = main_quality(now, metric), main_quality(then, metric)
    points = (
        None if ours is None or theirs is None or not same_rows else 100 * (worth(metric, ours) - worth(metric, theirs))
    )
    p50_ratio = _ratio(p50_ms(now), p50_ms(then))
    size_ratio = _ratio(now.size_bytes if now else None, then.size_bytes if then else None)
    where = "is only in the earlier report" if now is None else "is not in the earlier report"
    unknown = where if now is None or then is None else "is not known in both reports"
    other_rows = "the two reports are on other rows" if now and then and not same_rows else unknown
    return Change(
        target=name,
        provider=provider,
        threads=threads,
        metric=metric,
        quality_points=points,
        p50_ratio=p50_ratio,
        size_ratio=size_ratio,
        reason=join_reasons(
            {
                "quality_points": other_rows if points is None else None,
                "p50_ratio": unknown if p50_ratio is None else None,
                "size_ratio": unknown if size_ratio is None else None,
            }
        ),
    )


def _ratio(now: float | None, then: float | None) -> float | None:
    return now / then if now is not None and then else None


def _notes(report: Report, baseline: Report) -> Iterator[str]:
    here, there = report.environment, baseline.environment
    if (here.cpu, here.cores) != (there.cpu, there.cores):
        yield f"The earlier report was measured on another machine ({there.cpu}): its times cannot be compared."
    if report.data.sha256 != baseline.data.sha256:
        yield "The earlier report is on other rows: its quality is not compared."
