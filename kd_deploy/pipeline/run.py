"""finetune → distill → export → evaluate → benchmark → report: one recipe, one folder, resumable."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kd_deploy.errors import RecipeError, UsageError
from kd_deploy.files import locked, require_ours, write_text
from kd_deploy.pipeline.report import RESOLVED, forget_figures, keep_notes
from kd_deploy.pipeline.resume import STATE, Stages
from kd_deploy.pipeline.running import Running
from kd_deploy.pipeline.sources import models_of, require_sources
from kd_deploy.recipe import Recipe
from kd_deploy.report.compare import compare
from kd_deploy.report.html import require_packages
from kd_deploy.report.model import Report
from kd_deploy.report.render import write_report
from kd_deploy.runtime.session import find_provider
from kd_deploy.tasks.heads import MAIN
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run made, and where."""

    folder: Path
    report: Report
    files: tuple[Path, ...]


def run(
    recipe: Recipe,
    output: Path,
    *,
    fresh: bool = False,
    command: str = "kd-deploy run",
    name: str = "",
    notes: tuple[str, ...] = (),
) -> Ran:
    """Do all that a recipe says; a finished stage whose inputs did not change is not run again.

    Args:
        recipe: What to do.
        output: The run's folder.
        fresh: Run every stage again.
        command: What the user typed, for the report.
        name: What the data is called in the report. Empty: the path of its file.
        notes: What the report must say of the data.

    Raises:
        UsageError: The folder holds something else, or a run for another task; or torchrun started several processes.
        KDDeployError: Of the stage that failed; what earlier stages wrote stays.
    """
    require_sources(recipe)  # first, since it takes no torch to say that a file is not there
    _require_one_process()
    require_ours(output, marker=RESOLVED)
    _require_task(output / RESOLVED, recipe.task)
    with locked(output):
        stages = Stages(output, outdate=forget_figures)
        if fresh:
            stages.forget()
        running = _read(recipe, output, stages)
        write_text(output / RESOLVED, recipe.to_yaml())
        targets = running.targets()
        evaluation = running.evaluate(targets, name=name)
        benchmarked = running.benchmark(targets.main, command=command)
        told = (*notes, *running.notes())
        keep_notes(output, told)
        report = compare(evaluation, benchmarked, gates=recipe.report.gates, notes=told)
        files = write_report(report, output, formats=recipe.report.formats)
        shutil.rmtree(output / STATE / "work", ignore_errors=True)
    return Ran(folder=output, report=report, files=files)


def _require_one_process() -> None:
    """Refuse to measure where several processes would do so at once."""
    from kd_deploy.distill import processes

    if processes.count() > 1:
        raise UsageError(
            f"run measures in one process, and a launcher started {processes.count()}",
            hint="train with torchrun ... -m kd_deploy distill, then kd-deploy export, evaluate and benchmark",
        )


def _require_task(resolved: Path, task: str) -> None:
    """Refuse a folder that holds what was made for another task, and would be replaced."""
    if not resolved.is_file():
        return
    found = re.search(r"^task: (\S+)$", resolved.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if found and found[1] != task:
        raise UsageError(
            f"{resolved.parent} holds a run for {found[1]}, and this recipe is for {task}",
            hint="choose another folder with --output, or remove that one",
        )


def _require_known_gates(recipe: Recipe) -> None:
    """Refuse a limit for a figure that this run cannot know: it would be missed after all the work."""
    from kd_deploy.distill.conditional_mlm import filling_teacher

    gates = recipe.report.gates
    filling = filling_teacher(recipe)
    if gates.min_speedup and recipe.teacher and recipe.teacher.endpoint:
        raise RecipeError(
            "report.gates.min_speedup: the time of a teacher on a server is not measured", hint="leave it out"
        )
    if filling and (gates.min_retained or gates.min_speedup):
        gate = "min_retained" if gates.min_retained else "min_speedup"
        raise RecipeError(
            f"report.gates.{gate}: {filling} is a masked language model, which writes nothing to compare with",
            hint="leave it out",
        )


def _read(recipe: Recipe, output: Path, stages: Stages) -> Running:
    # Everything that can be known to fail at the end is asked before anything is trained.
    from kd_deploy.distill.check import check_recipe, teacher_labels
    from kd_deploy.pipeline.tasks import read_further
    from kd_deploy.pipeline.train import require_apart

    if recipe.teacher is None:
        raise RecipeError("teacher: missing", hint="name a checkpoint in teacher.model")
    for name in ("teacher", "student"):
        require_apart(output / name, *models_of(recipe).values())
    for provider in recipe.benchmark.providers:
        find_provider(provider)
    if "html" in recipe.report.formats:
        require_packages()
    check_recipe(recipe)
    _require_known_gates(recipe)
    splits = read_splits(recipe.data, task=TASKS[recipe.task], teacher=teacher_labels(recipe.teacher, recipe.task))
    further = read_further(recipe, splits)
    check_recipe(recipe, {MAIN: splits.labels, **{name: one.labels for name, one in further.items()}})
    return Running(recipe=recipe, output=output, stages=stages, splits=splits, further=further)
