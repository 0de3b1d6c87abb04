"""The single trainings: a teacher alone, a student alone."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kd_deploy import progress
from kd_deploy.bundle import MANIFEST, Bundle, require_place
from kd_deploy.distill import processes
from kd_deploy.distill.check import check_recipe, teacher_labels
from kd_deploy.distill.checkpoints import find_model
from kd_deploy.distill.job import Job
from kd_deploy.distill.student import distill_student
from kd_deploy.distill.teacher import make_teacher
from kd_deploy.distill.terms import MakeTerm
from kd_deploy.errors import BundleError, RecipeError, UsageError
from kd_deploy.files import beside, locked
from kd_deploy.pipeline.fingerprints import first_teacher, of_teacher, start, voices, written_out
from kd_deploy.pipeline.resume import Stages, fingerprint, whole_bundle
from kd_deploy.pipeline.sources import models_of, require_sources
from kd_deploy.pipeline.tasks import read_further
from kd_deploy.recipe import Recipe, Teacher, TransformerStudent
from kd_deploy.recipe.fitting import WITHOUT_LABELS
from kd_deploy.tasks.heads import MAIN, speaking_of
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits


def finetune(recipe: Recipe, output: Path) -> Bundle:
    """Write the recipe's fine-tuned teacher as a bundle; an interrupted training goes on where it was.

    Raises:
        RecipeError: The recipe has no teacher.finetune.
    """
    if recipe.teacher is None or recipe.teacher.finetune is None:
        if recipe.task in WITHOUT_LABELS:
            raise RecipeError(f"there is no finetune for {recipe.task}: it has no labels", hint="kd-deploy distill")
        raise RecipeError("teacher.finetune: missing", hint="say how to train: finetune: {epochs: 3}")
    require_sources(recipe.model_copy(update={"tasks": {}, "student": TransformerStudent()}))
    _require_free(output, recipe.teacher.first)
    processes.join()
    with locked(output):
        job = _of_teacher(_job(recipe.model_copy(update={"tasks": {}}), output), output)
        _tell_of_the_last(output)
        made = make_teacher(job, output)
        _forget(output)
    return made


def distill(recipe: Recipe, output: Path, *, teacher: str | None = None, terms: Sequence[MakeTerm] = ()) -> Bundle:
    """Write the recipe's student as a bundle; an interrupted training goes on where it was.

    Args:
        recipe: What to do.
        output: Where the student goes.
        teacher: A model to learn from as it is, in place of the recipe's.
        terms: What makes terms of one's own, for the main task in every stage, besides those of the recipe. A training
            with them that was broken off begins again.

    Raises:
        RecipeError: The recipe cannot be done, or not with terms of one's own.
    """
    if teacher is not None:
        find_model(teacher)
        ways = recipe.teacher.generation if recipe.teacher else None
        recipe = recipe.model_copy(update={"teacher": Teacher(model=teacher, generation=ways)})
    _require_whole_answers(recipe, terms)
    require_sources(recipe)
    _require_free(output, *models_of(recipe).values())
    check_recipe(recipe)
    processes.join()
    with locked(output):
        job = _with_terms(_job(recipe, output), terms)
        check_recipe(recipe, {name: head.labels for name, head in job.heads.items()})
        _tell_of_the_last(output)
        teachers = {name: _teacher(_of_teacher(job.of_task(name), output), name) for name in job.heads}
        made = distill_student(job, teachers.pop(MAIN), output, further=teachers)
        _forget(output)
    return made


def _with_terms(job: Job, terms: Sequence[MakeTerm]) -> Job:
    """The job with terms from Python, of which nothing tells whether they are those of a training before."""
    if not terms:
        return job
    own = replace(job, terms=terms, work=job.work.with_name(f"{job.work.name}-terms"))
    if processes.is_first():
        shutil.rmtree(own.work, ignore_errors=True)
    processes.wait()
    return own


def require_apart(output: Path, *models: str | None) -> None:
    """Refuse to write over a model that is read.

    Raises:
        UsageError: The output is one of the models, or a folder around it.
    """
    place = output.resolve()
    for name in filter(None, models):
        if place in (found := Path(name).resolve(), *found.parents) and found.is_dir():
            raise UsageError(
                f"{output} would be written over, and the recipe reads the model {name}", hint="choose another --output"
            )


def _require_free(output: Path, *models: str | None) -> None:
    """Refuse an output that is no place for a bundle of its own.

    Raises:
        UsageError: It holds what is not ours, is one of the models, or belongs to a run.
    """
    require_place(output)
    require_apart(output, *models)
    run = output.resolve().parent
    if Stages(run).wrote(output.resolve().name) and (output / MANIFEST).is_file():
        raise UsageError(
            f"{output} belongs to the run in {run}", hint="choose another --output, or kd-deploy run the recipe there"
        )


def _require_whole_answers(recipe: Recipe, terms: Sequence[MakeTerm]) -> None:
    """Refuse terms from Python beside what they cannot know of: texts without an answer, and parts of answers."""
    if not terms:
        return
    endpoint = recipe.teacher.endpoint if recipe.teacher else None
    if endpoint and endpoint.protocol == "openai":
        raise RecipeError(
            "teacher.endpoint: a chat model may name no label, and a term from Python sees every text",
            hint="leave terms out, or use the protocol oip",
        )
    for stage in recipe.stages:
        asked = {"active": stage.active, "samples": not stage.samples.all_count, "top_k": stage.top_k}
        key = next((key for key, value in asked.items() if value), None)
        if key:
            raise RecipeError(
                f"distill.{key} leaves the teacher's answers out, and a term from Python sees all of them",
                hint=f"leave {key} out, or terms",
            )


def _tell_of_the_last(output: Path) -> None:
    if (output / MANIFEST).is_file():
        progress.say(f"{output}: the model that lies there will be replaced")


def _teacher(job: Job, task: str) -> Bundle:
    # Kept until the student is there: what is changed about it does not have its teacher fine-tuned again.
    path = job.work / "teacher.bundle"
    made_before = _whole(path) if (path / MANIFEST).is_file() else None
    processes.wait()  # all processes decide before one of them writes
    with speaking_of(task):
        return made_before or make_teacher(job, path)


def _whole(path: Path) -> Bundle | None:
    try:
        return whole_bundle(path)
    except BundleError as error:
        progress.say(f"teacher: made again ({error})")
        return None


def _job(recipe: Recipe, output: Path) -> Job:
    known = teacher_labels(recipe.teacher, recipe.task) if recipe.teacher else ()
    splits = read_splits(recipe.data, task=TASKS[recipe.task], teacher=known)
    further = read_further(recipe, splits)
    inputs: list[object] = [
        written_out(recipe, without={"export", "benchmark", "report"}),
        *(one.learned_from for one in (splits, *further.values())),
        first_teacher(recipe.teacher),
        voices(recipe.teacher),
        *(first_teacher(one.teacher) + voices(one.teacher) for one in recipe.tasks.values()),
        start(recipe.student),
    ]
    work, logs = _work(output, inputs), beside(output, "{}.logs")
    return Job(recipe=recipe, splits=splits, work=work, logs=logs, further=further)


def _of_teacher(job: Job, output: Path) -> Job:
    """The job as far as the teacher goes, which knows nothing of the student."""
    return replace(job, work=_work(output, of_teacher(job.recipe, job.splits)))


def _work(output: Path, inputs: list[object]) -> Path:
    return _work_folder(output) / fingerprint(inputs)[:16]


def _work_folder(output: Path) -> Path:
    return beside(output, ".{}.training")


def _forget(output: Path) -> None:
    processes.wait()
    shutil.rmtree(_work_folder(output), ignore_errors=True)
