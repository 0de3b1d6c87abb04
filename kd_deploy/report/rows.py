"""One row for every target: what was measured and what was answered, brought together by name."""

from collections.abc import Sequence

from kd_deploy.measurement import (
    Benchmarked,
    EndToEnd,
    Evaluated,
    Evaluation,
    Latency,
    Measured,
    TargetName,
    Throughput,
)
from kd_deploy.report.model import EndToEndFigures, LatencyFigures, Target, ThroughputFigures
from kd_deploy.report.reasons import join_reasons

NOT_BENCHMARKED = "was not benchmarked"
BY_LENGTH = "batches hold texts of like length, as many as fit a budget of tokens"
NOT_EVALUATED = "was not evaluated"
WRITES_NOTHING = "tokens_per_s: the answers are not written token by token"


def target_rows(evaluation: Evaluation, benchmarked: Benchmarked) -> tuple[Target, ...]:
    """A row for each target on each provider and number of threads.

    In the order of the evaluation; then those that were measured only.
    """
    evaluated = {one.target.name: one for one in evaluation.targets}
    every = [one.target for one in evaluation.targets] + [one.target for one in benchmarked.targets]
    names = {one.name: one for one in every}
    return tuple(
        _row(name, evaluated=evaluated.get(name.name), measured=measured)
        for name in names.values()
        for measured in _measured_as(name, benchmarked.targets)
    )


def _measured_as(name: TargetName, measured: Sequence[Measured]) -> Sequence[Measured | None]:
    return [one for one in measured if one.target.name == name.name] or [None]


def _row(name: TargetName, *, evaluated: Evaluated | None, measured: Measured | None) -> Target:
    return Target(
        name=name.name,
        role=name.role,
        runtime=name.runtime,
        precision=name.precision,
        provider=measured.provider if measured else None,
        threads=measured.threads if measured else None,
        parameters=measured.parameters if measured else None,
        size_bytes=measured.size_bytes if measured else None,
        quality=evaluated.quality if evaluated else None,
        agreement=evaluated.agreement if evaluated else None,
        latency=tuple(_latency(one) for one in measured.latency) or None if measured else None,
        end_to_end=_end_to_end(measured.end_to_end) if measured else None,
        throughput=_throughput(measured.throughput) if measured else None,
        memory=measured.memory if measured else None,
        start=measured.start if measured else None,
        reason=join_reasons(_missing_quality(evaluated) | _missing_time(measured)),
    )


def _missing_quality(evaluated: Evaluated | None) -> dict[str, str | None]:
    if evaluated is None:
        return {"quality": NOT_EVALUATED, "agreement": NOT_EVALUATED}
    not_finite = {
        f"quality.{metric}": "is not a finite number" if value is None else None
        for metric, value in evaluated.quality.items()
    }
    agreement = "there was no teacher to agree with" if evaluated.agreement is None else None
    return {**not_finite, "agreement": agreement}


def _missing_time(measured: Measured | None) -> dict[str, str | None]:
    parts = ("latency", "end_to_end", "throughput", "memory", "start")
    if measured is None:
        return dict.fromkeys(("provider", "threads", "parameters", "size_bytes", *parts), NOT_BENCHMARKED)
    missing = {part: None if getattr(measured, part) else measured.reason or "was not measured" for part in parts}
    parameters = "is not known for this target" if measured.parameters is None else None
    return {**missing, "parameters": parameters}


def _latency(seen: Latency) -> LatencyFigures:
    timing = seen.timing
    return LatencyFigures(
        batch_size=seen.batch_size,
        sequence_length=seen.sequence_length,
        p50_ms=timing.percentile_ms(50) if timing else None,
        p90_ms=timing.percentile_ms(90) if timing else None,
        p99_ms=timing.percentile_ms(99) if timing else None,
        n=timing.n if timing else None,
        reason=None if timing else seen.reason or "was not measured",
    )


def _end_to_end(seen: EndToEnd | None) -> EndToEndFigures | None:
    if seen is None:
        return None
    timing = seen.timing
    return EndToEndFigures(
        batch_size=1,
        p50_ms=timing.percentile_ms(50),
        p99_ms=timing.percentile_ms(99),
        n=timing.n,
        via=seen.via,
        tokens_per_s=seen.tokens_per_s,
        reason=None if seen.tokens else WRITES_NOTHING,
    )


def _throughput(seen: Throughput | None) -> ThroughputFigures | None:
    if seen is None:
        return None
    reason = BY_LENGTH if seen.batch_size is None else None
    return ThroughputFigures(texts_per_s=seen.texts_per_s, batch_size=seen.batch_size, reason=reason)
