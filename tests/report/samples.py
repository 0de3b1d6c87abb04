"""A small evaluation and a benchmark of it, made by hand."""

from collections.abc import Sequence
from dataclasses import replace

from kd_deploy.measurement import (
    Benchmarked,
    DataUsed,
    EndToEnd,
    Environment,
    Evaluated,
    Evaluation,
    Latency,
    Measured,
    Memory,
    Start,
    TargetName,
    Throughput,
    Timing,
)
from kd_deploy.recipe import Gates
from kd_deploy.report.compare import compare
from kd_deploy.report.model import Comparison, Report, Target

ROWS = 200
TEACHER = TargetName(name="teacher", role="teacher", runtime="torch", precision="fp32")
TORCH = TargetName(name="student-torch", role="student", runtime="torch", precision="fp32")
INT8 = TargetName(name="student-int8", role="student", runtime="onnxruntime", precision="int8")
CONTROL = TargetName(name="control-torch", role="control", runtime="torch", precision="fp32")
RIGHT = {TEACHER: 184, TORCH: 178, INT8: 176, CONTROL: 164}
TIME_MS = {TEACHER: 8.0, TORCH: 2.0, INT8: 0.5, CONTROL: 2.0}
SIZE = {TEACHER: 90_000_000, TORCH: 30_000_000, INT8: 7_500_000, CONTROL: 30_000_000}
PEAK = {TEACHER: 600 << 20, TORCH: 400 << 20, INT8: 90 << 20, CONTROL: 400 << 20}


def evaluated(target: TargetName, *, right: int | None = None) -> Evaluated:
    right = RIGHT[target] if right is None else right
    predictions = tuple((row % 2,) if row < right else (1 - row % 2,) for row in range(ROWS))
    quality = {"accuracy": right / ROWS, "macro_f1": right / ROWS - 0.001}
    return Evaluated(target=target, quality=quality, agreement=right / ROWS, predictions=predictions)


def evaluation(*targets: Evaluated) -> Evaluation:
    return Evaluation(
        task="text-classification",
        main_metric="accuracy",
        data=DataUsed(name="sst2", split="test", n=ROWS, sha256="ab" * 32),
        references=tuple((row % 2,) for row in range(ROWS)),
        labels=("bad", "good"),
        problem_type="single_label_classification",
        targets=targets or tuple(evaluated(one) for one in RIGHT),
    )


def measured(target: TargetName, *, provider: str = "cpu", threads: int = 1) -> Measured:
    ms = TIME_MS[target]
    return Measured(
        target=target,
        provider=provider,
        threads=threads,
        size_bytes=SIZE[target],
        parameters=SIZE[target] // 4,
        latency=(
            Latency(batch_size=1, sequence_length=16, timing=timing(ms / 2)),
            Latency(batch_size=8, sequence_length=128, timing=timing(ms * 7)),
        ),
        end_to_end=EndToEnd(via="a fake", timing=timing(ms)),
        throughput=Throughput(batch_size=32, samples_texts_per_s=(900 / ms, 1000 / ms, 1100 / ms)),
        memory=Memory(baseline_rss_bytes=12 << 20, peak_rss_bytes=PEAK[target]),
        start=Start(import_ms=812.5, load_ms=33.25, first_answer_ms=4.125),
    )


def writing(target: TargetName, *, tokens: int, provider: str = "cpu") -> Measured:
    seen = measured(target, provider=provider)
    assert seen.end_to_end
    return replace(seen, end_to_end=replace(seen.end_to_end, tokens=tokens))


def timing(median_ms: float) -> Timing:
    return Timing(samples_ms=tuple(median_ms * factor for factor in (0.9, 0.95, 1.0, 1.1, 1.4)))


def not_measured(target: TargetName, reason: str) -> Measured:
    return Measured(target=target, provider="cuda", threads=1, size_bytes=SIZE[target], reason=reason)


def benchmarked(*targets: Measured) -> Benchmarked:
    return Benchmarked(
        environment=Environment(
            cpu="A Processor 8481C @ 2.70GHz",
            features=("avx2", "avx512_vnni"),
            cores=2,
            memory_bytes=8 << 30,
            platform="Linux-6.1-x86_64",
            python="3.11.7",
            versions={"numpy": "2.4.6", "onnxruntime": "1.31.1"},
        ),
        command="kd-deploy run recipe.yaml",
        created="2026-01-02T03:04:05+00:00",
        targets=targets or tuple(measured(one) for one in RIGHT),
    )


def report(
    seen: Evaluation | None = None,
    timed: Benchmarked | None = None,
    *,
    gates: Gates | None = None,
    notes: Sequence[str] = (),
) -> Report:
    gates = gates or Gates(min_retained=0.95, min_speedup=10, max_size_mb=10)
    return compare(seen or evaluation(), timed or benchmarked(), gates=gates, notes=notes)


def renamed(target: TargetName, name: str) -> TargetName:
    return replace(target, name=name)


def target_of(made: Report, name: str) -> Target:
    return next(one for one in made.targets if one.name == name)


def comparison_of(made: Report, name: str) -> Comparison:
    return next(one for one in made.comparison if one.target == name)
