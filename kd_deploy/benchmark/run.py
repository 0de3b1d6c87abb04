"""The whole benchmark: a process for each target, and turns, so that a slow minute hits them all alike."""

import contextlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

from kd_deploy.benchmark.measure import TextInput
from kd_deploy.benchmark.process import Worker, WorkerDiedError
from kd_deploy.benchmark.targets import TargetSpec
from kd_deploy.errors import BenchmarkError
from kd_deploy.machine import installed_versions, this_machine
from kd_deploy.measurement import (
    Benchmarked,
    EndToEnd,
    Environment,
    Latency,
    Measured,
    Memory,
    Start,
    Throughput,
    Timing,
)
from kd_deploy.progress import say, track
from kd_deploy.recipe import Benchmark

WARMUP_RUNS = 2
WARMUP_TEXTS = 3
LATENCY = {"warmup": WARMUP_RUNS, "budget_ms": 500.0, "least": 5, "most": 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A target whose process runs, with what it told at its start and the samples so far."""

    spec: TargetSpec
    worker: Worker
    via: str
    max_length: int
    batch_size: int | None
    baseline_rss_bytes: int
    start: Start
    latency_ms: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    texts_ms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    texts_per_s: list[float] = field(default_factory=list)


def benchmark(
    specs: Sequence[TargetSpec], *, task: str, inputs: Sequence[TextInput], settings: Benchmark, command: str
) -> Benchmarked:
    """Time and memory of every target, each in its own process, measured in turns.

    Every process is started alone, so that start-up is timed on a quiet machine. In a round each
    target takes one turn and answers the same inputs as the others; the next round takes the next
    inputs. No process outlives the call.

    Args:
        specs: What to measure; the report keeps this order.
        task: What all of them are for.
        inputs: Real texts or pairs, at least one. Rounds begin again at the first when they run out.
        settings: Shapes, rounds, texts in a round. Providers and threads are those of `specs`.
        command: What the user typed, for the record.

    Raises:
        BenchmarkError: A target cannot be opened, or the process of one that must run died; the message names it.
    """
    if not inputs:
        raise BenchmarkError("there are no texts to benchmark on", hint="give --data a file with at least one row")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    shapes = tuple(product(settings.batch_sizes, settings.sequence_lengths))
    reasons = {position: spec.reason for position, spec in enumerate(specs) if spec.reason is not None}
    opened: dict[int, Opened] = {}
    found: dict[int, Measured] = {}
    with contextlib.ExitStack() as stack:
        for position, spec in enumerate(specs):
            if position not in reasons:
                with _death_noted(spec, position, reasons):
                    opened[position] = _open(stack.enter_context(Worker(spec)), spec, first=inputs[0])
        turns = list(product(range(settings.rounds), opened))
        for round_index, position in track(turns, "benchmark", total=len(turns)):
            if position not in reasons:
                with _death_noted(specs[position], position, reasons):
                    target = opened[position]
                    _take_turn(target, shapes, inputs=inputs, texts=settings.texts, round_index=round_index)
        for position in opened.keys() - reasons.keys():
            with _death_noted(specs[position], position, reasons):
                found[position] = _gather(opened[position], shapes)
    found |= {position: _not_measured(specs[position], reason) for position, reason in reasons.items()}
    measured = tuple(found[position] for position in range(len(specs)))
    return Benchmarked(environment=environment(), command=command, created=created, targets=measured, task=task)


@contextlib.contextmanager
def _death_noted(spec: TargetSpec, position: int, reasons: dict[int, str]) -> Iterator[None]:
    """Let the others go on where the process of a target dies that need not run."""
    try:
        yield
    except WorkerDiedError as error:
        if spec.must_run:
            raise
        say(f"not measured: {error}")
        reasons[position] = str(error).splitlines()[0]


def environment() -> Environment:
    """The machine and the versions, as they are now."""
    machine = this_machine()
    return Environment(
        cpu=machine.cpu,
        features=machine.features,
        cores=machine.cores,
        memory_bytes=machine.memory_bytes,
        platform=platform.platform(),
        python=platform.python_version(),
        versions=installed_versions(),
    )


def round_inputs(inputs: Sequence[TextInput], *, texts: int, round_index: int) -> list[TextInput]:
    """The inputs of one round: the next `texts` of them, from the first again after the last."""
    start = round_index * texts
    return [inputs[(start + offset) % len(inputs)] for offset in range(texts)]


def _open(worker: Worker, spec: TargetSpec, *, first: TextInput) -> Opened:
    say(f"opening {spec.target.name}")
    told = worker.ask("open", function=spec.factory.function, arguments=spec.factory.arguments, first=first)
    start = Start(import_ms=told["import_ms"], load_ms=told["load_ms"], first_answer_ms=told["first_answer_ms"])
    return Opened(
        spec=spec,
        worker=worker,
        via=told["via"],
        max_length=told["max_length"],
        batch_size=told["batch_size"],
        baseline_rss_bytes=told["baseline_rss_bytes"],
        start=start,
    )


def _take_turn(
    target: Opened,
    shapes: Sequence[tuple[int, int]],
    *,
    inputs: Sequence[TextInput],
    texts: int,
    round_index: int,
) -> None:
    for batch_size, sequence_length in shapes:
        if sequence_length <= target.max_length:
            told = target.worker.ask("latency", batch_size=batch_size, sequence_length=sequence_length, **LATENCY)
            target.latency_ms.setdefault((batch_size, sequence_length), []).extend(told["samples_ms"])
    of_this_round = round_inputs(inputs, texts=texts, round_index=round_index)
    told = target.worker.ask("texts", inputs=of_this_round, warmup=WARMUP_TEXTS)
    target.texts_ms.extend(told["samples_ms"])
    if told["tokens"] is not None:
        target.tokens.append(told["tokens"])
    # Throughput is compared between rounds too: it is taken over the same texts in all of them.
    same_every_round = round_inputs(inputs, texts=texts, round_index=0)
    told = target.worker.ask("throughput", inputs=same_every_round, warmup=WARMUP_TEXTS)
    target.texts_per_s.append(told["texts_per_s"])


def _gather(target: Opened, shapes: Sequence[tuple[int, int]]) -> Measured:
    peak = target.worker.ask("memory")["peak_rss_bytes"]
    return Measured(
        target=target.spec.target,
        provider=target.spec.provider,
        threads=target.spec.threads,
        size_bytes=target.spec.size_bytes,
        parameters=target.spec.parameters,
        latency=tuple(_latency(target, shape) for shape in shapes),
        end_to_end=EndToEnd(
            via=target.via,
            timing=Timing(samples_ms=tuple(target.texts_ms)),
            tokens=sum(target.tokens) if target.tokens else None,
        ),
        throughput=Throughput(batch_size=target.batch_size, samples_texts_per_s=tuple(target.texts_per_s)),
        memory=Memory(baseline_rss_bytes=target.baseline_rss_bytes, peak_rss_bytes=peak),
        start=target.start,
    )


def _latency(target: Opened, shape: tuple[int, int]) -> Latency:
    batch_size, sequence_length = shape
    samples = target.latency_ms.get(shape)
    return Latency(
        batch_size=batch_size,
        sequence_length=sequence_length,
        timing=Timing(samples_ms=tuple(samples)) if samples else None,
        reason=None if samples else f"{target.spec.target.name} takes at most {target.max_length} tokens",
    )


def _not_measured(spec: TargetSpec, reason: str) -> Measured:
    return Measured(
        target=spec.target,
        provider=spec.provider,
        threads=spec.threads,
        size_bytes=spec.size_bytes,
        parameters=spec.parameters,
        reason=reason,
    )
