"""`kd-deploy benchmark`: latency, throughput, memory, size and start-up of models, side by side."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kd_deploy.cli.output import AsJson, Columns, Quiet, columns_of, speaking, table
from kd_deploy.cli.run import command_line
from kd_deploy.errors import UsageError

if TYPE_CHECKING:
    from kd_deploy.measurement import Benchmarked, Measured
    from kd_deploy.recipe import Benchmark


def command(
    models: Annotated[
        list[str], typer.Argument(help="BUNDLE, BUNDLE:int8, BUNDLE:torch, a checkpoint, an .onnx file.")
    ],
    against: Annotated[str | None, typer.Option(help="The teacher, to be measured with them and compared.")] = None,
    batch_sizes: Annotated[str, typer.Option(help="Separated by commas.")] = "1,8",
    sequence_lengths: Annotated[str, typer.Option(help="Separated by commas, in tokens.")] = "16,128",
    providers: Annotated[str, typer.Option(help="cpu, cuda, or others that are here, separated by commas.")] = "cpu",
    threads: Annotated[str, typer.Option(help="Separated by commas.")] = "1",
    rounds: Annotated[int, typer.Option(help="Models take turns, this many times.", min=1)] = 5,
    data: Annotated[str | None, typer.Option(help="Texts to answer. Left out: a few short English sentences.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write every raw sample to this JSON file.")] = None,
    columns: Columns = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure models in turns, each in a process of its own."""
    settings = _settings(batch_sizes, sequence_lengths, providers, threads, rounds)
    from kd_deploy import measurement_store
    from kd_deploy.benchmark.run import benchmark
    from kd_deploy.files import require_file_place
    from kd_deploy.pipeline.rows import task_of_all, texts_of
    from kd_deploy.pipeline.targets import resolve
    from kd_deploy.tasks.registry import as_asked

    if output:
        require_file_place(output)
    if against in models:
        raise UsageError(f"{against} is named twice", hint="leave it out before --against")
    targets = [resolve(against, role="teacher", name=against)] if against else []
    targets += [resolve(one, name=one) for one in models]
    specs = [
        target.spec(provider=provider, threads=count, must_run=True)
        for provider in settings.providers
        for count in settings.threads
        for target in targets
    ]
    task = task_of_all(targets)
    inputs = texts_of(data, columns=columns_of(columns), task=task) if data else as_asked(task.SAMPLE, task)
    with speaking(quiet=quiet):
        made = benchmark(specs, task=task.NAME, inputs=inputs, settings=settings, command=command_line())
    if output:
        measurement_store.save(output, made)
    show(made, as_json=as_json)


def show(made: "Benchmarked", *, as_json: bool) -> None:
    """The medians of a benchmark."""
    from kd_deploy import measurement_store

    if as_json:
        typer.echo(json.dumps(measurement_store.as_document(made)))
        return
    teacher = next((one for one in made.targets if one.target.role == "teacher"), None)
    rows = [
        (
            one.target.name,
            one.provider,
            str(one.threads),
            f"{one.end_to_end.timing.percentile_ms(50):.2f}" if one.end_to_end else "-",
            f"{one.end_to_end.timing.percentile_ms(99):.2f}" if one.end_to_end else "-",
            *([_speedup(one, made)] if teacher else []),
            f"{one.throughput.texts_per_s:.0f}" if one.throughput else "-",
            f"{one.size_bytes / 1e6:.1f}",
            f"{one.memory.peak_rss_bytes / 2**20:.0f}" if one.memory else "-",
            f"{one.start.import_ms + one.start.load_ms + one.start.first_answer_ms:.0f}" if one.start else "-",
        )
        for one in made.targets
    ]
    ratio = ["× as fast"] if teacher else []
    table(
        ("model", "provider", "threads", "p50 ms", "p99 ms", *ratio, "texts/s", "size MB", "peak MiB", "start ms"), rows
    )
    typer.echo("p50 and p99: from a text to its answer, one at a time")


def _speedup(one: "Measured", made: "Benchmarked") -> str:
    """How many times as fast as the teacher it answers, at the same place; nothing for the teacher itself."""
    place = (one.provider, one.threads)
    teacher = next((x for x in made.targets if x.target.role == "teacher" and (x.provider, x.threads) == place), None)
    if teacher is None or teacher is one or not (one.end_to_end and teacher.end_to_end):
        return ""
    return f"{teacher.end_to_end.timing.percentile_ms(50) / one.end_to_end.timing.percentile_ms(50):.1f}"


def _settings(batch_sizes: str, lengths: str, providers: str, threads: str, rounds: int) -> "Benchmark":
    from pydantic import ValidationError

    from kd_deploy.recipe import Benchmark

    try:
        return Benchmark(
            providers=tuple(one.strip() for one in providers.split(",") if one.strip()),
            threads=_numbers(threads, "--threads"),
            batch_sizes=_numbers(batch_sizes, "--batch-sizes"),
            sequence_lengths=_numbers(lengths, "--sequence-lengths"),
            rounds=rounds,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", hint="see kd-deploy benchmark --help"
        ) from error


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a list of numbers", hint=f"write {option} 1,8") from error
