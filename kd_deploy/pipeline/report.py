"""One report of several runs and benchmark files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from kd_deploy import measurement_store
from kd_deploy.errors import BenchmarkError, UsageError
from kd_deploy.files import write_text
from kd_deploy.measurement import Benchmarked, DataUsed, Evaluated, Evaluation, Measured, TargetName
from kd_deploy.pipeline.resume import STATE
from kd_deploy.recipe import Gates, Recipe
from kd_deploy.report.compare import compare
from kd_deploy.report.document import REPORT_FILE, load_report
from kd_deploy.report.model import Report
from kd_deploy.report.render import WRITERS

EVALUATION = "evaluation.json"
BENCHMARK = "benchmark.json"
NOTES = f"{STATE}/notes.json"
RESOLVED = "recipe.resolved.yaml"
SEVERAL_RUNS = "Each run is held against its own teacher; times of different runs were taken at different hours."
NO_GATES = Gates()
Named = TypeVar("Named", Evaluated, Measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What lies in one place: what was measured, and the gates of the recipe and the notes of a run."""

    evaluation: Evaluation
    benchmarked: Benchmarked
    gates: Gates = NO_GATES
    notes: tuple[str, ...] = ()


def forget_figures(run: Path) -> None:
    """Remove what was measured in a run's folder: it is of models that are not there any more."""
    for name in (EVALUATION, BENCHMARK, NOTES, *(name for name, _ in WRITERS.values())):
        (run / name).unlink(missing_ok=True)


def report_on(places: Sequence[Path]) -> Report:
    """The report on run folders and benchmark files, as one table.

    With several runs, the targets of a run carry its folder's name. Each run is held against its own gates.

    Raises:
        UsageError: A place that is neither.
        BenchmarkError: Runs on other rows, which nothing can compare.
    """
    found = [_read(place) for place in places]
    rows = {one.evaluation.data.sha256 for one in found if one.evaluation.targets}
    if len(rows) > 1:
        raise BenchmarkError(
            f"{places[0]} and {places[-1]} were evaluated on different rows", hint="report on each by itself"
        )
    judged = [one.evaluation for one in found if one.evaluation.targets]
    kinds = list(dict.fromkeys(f"{one.task} by {one.main_metric}" for one in judged))
    if len(kinds) > 1:
        raise BenchmarkError(f"the runs were judged as {' and as '.join(kinds)}", hint="report on each by itself")
    tasks = list(dict.fromkeys(one.benchmarked.task for one in found))
    if len(tasks) > 1:
        raise BenchmarkError(f"the times are of {' and of '.join(tasks)}", hint="report on each by itself")
    names = _names(places)
    reports = [_of_one(one, name=name) for one, name in zip(found, names, strict=True)]
    # A run's targets are held against its own teacher and its own control: another run had another hour.
    first = max(reports, key=lambda one: one.data.n)
    return replace(
        first,
        targets=tuple(chain.from_iterable(one.targets for one in reports)),
        comparison=tuple(chain.from_iterable(one.comparison for one in reports)),
        differences=tuple(chain.from_iterable(one.differences for one in reports)),
        gates=tuple(chain.from_iterable(one.gates for one in reports)),
        tasks=tuple(chain.from_iterable(one.tasks for one in reports)),
        samples=tuple(chain.from_iterable(one.samples for one in reports)),
        notes=_joint_notes(reports, names) if len(reports) > 1 else first.notes,
    )


def _joint_notes(reports: Sequence[Report], names: Sequence[str]) -> tuple[str, ...]:
    """The notes of several runs, and where each was measured if it was not on one machine."""
    machines = [f"{one.environment.cpu}, {one.environment.cores} cores" for one in reports]
    others = len(set(machines)) > 1
    measured = [f"{name}: measured on {machine}" for name, machine in zip(names, machines, strict=True)]
    told = [f"{name}: {note}" for name, one in zip(names, reports, strict=True) for note in one.notes]
    return (SEVERAL_RUNS, *(measured if others else ()), *told)


def _names(places: Sequence[Path]) -> list[str]:
    """What the targets of each place carry: its folder's name, its path where folders are called alike."""
    if len(places) == 1:
        return [""]
    whole = [place.resolve() for place in places]
    twice = next((place for place in whole if whole.count(place) > 1), None)
    if twice:
        raise UsageError(f"{twice} is named twice", hint="name each run once")
    short = [place.name for place in whole]
    return [str(place) if short.count(place.name) > 1 else place.name for place in whole]


def _of_one(found: _Found, *, name: str) -> Report:
    further = {task: _all_renamed(answers, name) for task, answers in found.evaluation.further.items()}
    return compare(
        replace(_all_renamed(found.evaluation, name), further=further),
        replace(found.benchmarked, targets=tuple(_renamed(one, name) for one in found.benchmarked.targets)),
        gates=found.gates,
        notes=found.notes,
    )


def _read(place: Path) -> _Found:
    if place.is_file():
        benchmarked = measurement_store.load(place, Benchmarked)
        return _Found(evaluation=_nothing(benchmarked.task), benchmarked=benchmarked)
    if not (place / BENCHMARK).is_file():
        raise UsageError(
            f"{place} is neither a finished run nor a benchmark file", hint="give a folder that kd-deploy run wrote"
        )
    return _Found(
        evaluation=measurement_store.load(place / EVALUATION, Evaluation),
        benchmarked=measurement_store.load(place / BENCHMARK, Benchmarked),
        gates=Recipe.load(place / RESOLVED).report.gates if (place / RESOLVED).is_file() else NO_GATES,
        notes=_kept_notes(place),
    )


def keep_notes(run: Path, notes: Sequence[str]) -> None:
    """Keep the notes of a run beside its figures: its report may be written in forms that cannot be read back."""
    write_text(run / NOTES, json.dumps(notes, ensure_ascii=False) + "\n")


def _kept_notes(run: Path) -> tuple[str, ...]:
    if (run / NOTES).is_file():
        return TypeAdapter(tuple[str, ...]).validate_json((run / NOTES).read_text(encoding="utf-8"))
    return load_report(run).notes if (run / REPORT_FILE).is_file() else ()


def _nothing(task: str) -> Evaluation:
    """The evaluation of targets that nobody judged."""
    return Evaluation(
        task=task,
        main_metric="quality",
        data=DataUsed(name="none", split="none", n=0, sha256=""),
        references=(),
        labels=(),
        problem_type="single_label_classification",
        targets=(),
    )


def _all_renamed(evaluation: Evaluation, run: str) -> Evaluation:
    return replace(evaluation, targets=tuple(_renamed(one, run) for one in evaluation.targets))


def _renamed(one: Named, run: str) -> Named:
    if not run:
        return one
    target: TargetName = replace(one.target, name=f"{run}/{one.target.name}")
    return replace(one, target=target)
