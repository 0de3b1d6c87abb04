"""report.json as dataclasses. A figure that was not measured is None, and `reason` beside it says why."""

from dataclasses import dataclass
from typing import Literal

from kd_deploy.measurement import DataUsed, Environment, Memory, Role, Start

GateName = Literal["min_retained", "min_speedup", "max_size_mb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFigures:
    """Forward passes of the bare model over one fixed shape."""

    batch_size: int
    sequence_length: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    n: int | None
    stage: Literal["model"] = "model"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEndFigures:
    """One text at a time, tokenising and decoding included, over real texts."""

    batch_size: int
    p50_ms: float
    p99_ms: float
    n: int
    via: str
    tokens_per_s: float | None = None
    stage: Literal["text to answer"] = "text to answer"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputFigures:
    """Texts answered in a second when many are given at once."""

    texts_per_s: float
    batch_size: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One model in one form, on one provider with one number of threads."""

    name: str
    role: Role
    runtime: Literal["torch", "onnxruntime", "server"]
    precision: str
    provider: str | None
    threads: int | None
    parameters: int | None
    size_bytes: int | None
    quality: dict[str, float | None] | None
    agreement: float | None
    latency: tuple[LatencyFigures, ...] | None
    end_to_end: EndToEndFigures | None
    throughput: ThroughputFigures | None
    memory: Memory | None
    start: Start | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One target held against the teacher on the same provider with as many threads.

    `retained` is the share of the teacher's main metric that is kept, with its bootstrap interval;
    `speedup` and `smaller` say how many times, `memory_ratio` is the target's peak over the teacher's.
    """

    target: str
    against: str | None
    provider: str | None
    threads: int | None
    retained: float | None
    retained_low: float | None
    retained_high: float | None
    speedup: float | None
    smaller: float | None
    memory_ratio: float | None
    stage: Literal["text to answer"] = "text to answer"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A distilled student minus the same student trained on labels alone, in points of the main metric."""

    student: str
    control: str
    metric: str
    points: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFigures:
    """What one target is worth on a further task of the student, beside that task's own teacher.

    `quality` is the task's main metric on `n` rows of its own; `retained` is the share of the teacher's, with its
    bootstrap interval. The teacher itself retains nothing: it is what the others are held against.
    """

    task: str
    target: str
    role: Role
    metric: str
    n: int
    quality: float | None
    agreement: float | None
    retained: float | None
    retained_low: float | None
    retained_high: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What every target wrote for one input, by the target's name; `reference` is what the data has, if anything."""

    input: str
    reference: str | None
    written: dict[str, str]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit of the recipe and what was found; an unknown value does not pass."""

    name: GateName
    target: str | None
    limit: float
    value: float | None
    passed: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How the intervals were made: rows drawn with replacement, the same rows for every target."""

    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One target now against the same target in an earlier report; ratios are now over then."""

    target: str
    provider: str | None
    threads: int | None
    metric: str
    quality_points: float | None
    p50_ratio: float | None
    size_ratio: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """An earlier report and what has changed since."""

    created: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that report.html, report.md and report.json show."""

    schema_version: Literal[1] = 1
    task: str
    main_metric: str
    created: str
    command: str
    environment: Environment
    data: DataUsed
    targets: tuple[Target, ...]
    comparison: tuple[Comparison, ...]
    differences: tuple[Difference, ...]
    gates: tuple[Gate, ...]
    bootstrap: Bootstrap
    notes: tuple[str, ...] = ()
    tasks: tuple[TaskFigures, ...] = ()
    samples: tuple[Sample, ...] = ()
    baseline: Baseline | None = None
