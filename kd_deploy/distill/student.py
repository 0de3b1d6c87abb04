"""A student through the stages of its recipe; and its control, the same student on labels alone."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import nn

from kd_deploy import progress
from kd_deploy.bundle import Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.asking import ask_in_rounds
from kd_deploy.distill.job import Job
from kd_deploy.distill.narrowed import Tokenizing, tokenizing
from kd_deploy.distill.students.build import build_student, own_start, usual_rate
from kd_deploy.distill.students.entries import with_entries
from kd_deploy.distill.teachers import Teachers, open_teachers
from kd_deploy.distill.teaching import prepare, untaught
from kd_deploy.errors import DataError
from kd_deploy.files import staged
from kd_deploy.manifest import TrainingRecord
from kd_deploy.recipe import Distill, HardLabels


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A stage that is over: the scores on validation after it, and what it learned from."""

    metrics: dict[str, float]
    record: TrainingRecord


def distill_student(job: Job, teacher: Bundle, output: Path, *, control: bool = False) -> Bundle:
    """Train the recipe's student on its teacher, or, as the control, on labels alone.

    Both start from the same weights and see the same rows for the same number of epochs.

    Raises:
        TrainingError: Training cannot go on.
        RecipeError: The student's sizes or a term do not fit the teacher.
        DataError: The teacher's classes are not those of the data.
    """
    if teacher.manifest.labels != job.labels.names:
        raise DataError(
            f"the teacher's classes are {list(teacher.manifest.labels)}, the data's {list(job.labels.names)}",
            hint="rename the labels to the teacher's, or add teacher.finetune",
        )
    tokens = tokenizing(
        job.recipe.student.vocabulary,
        checkpoint=own_start(job.recipe.student) or teacher.path,
        texts=(*job.splits.train.inputs, *job.splits.unlabeled),
        work=job.work / processes.own("tokenizer"),
        teacher=teacher.path,
    )
    teachers = open_teachers(
        None if control else job.recipe.teacher, teacher, validation=job.splits.validation, max_length=job.max_length
    )
    student = build_student(
        job.recipe.student,
        teacher=teachers.model,
        teacher_folder=teacher.path,
        labels=job.labels,
        seed=job.recipe.stages[0].seed,
    )
    if tokens.kept is not None:
        student = with_entries(student, tokens.kept)
    rate = usual_rate(job.recipe.student, teachers.model)
    stages = tuple(
        stage if stage.learning_rate else stage.model_copy(update={"learning_rate": rate})
        for stage in job.recipe.stages
    )
    passed = (
        _on_labels(job, student, stages, tokens=tokens)
        if control
        else _through_stages(job, student, teachers, stages, tokens=tokens)
    )
    lineage = job.lineage(
        teacher=None if control else teacher.path,
        name=None if control else _named(teachers, teacher),
        settings=job.recipe.stages[-1],
        terms=("hard_labels",) if control else _described(job.recipe.stages),
    )
    return job.write(
        student,
        output,
        tokenizer=tokens.folder,
        lineage=lineage,
        metrics=passed[-1].metrics,
        training=tuple(one.record for one in passed),
    )


def _through_stages(
    job: Job, student: nn.Module, teachers: Teachers, stages: tuple[Distill, ...], *, tokens: Tokenizing
) -> tuple[Passed, ...]:
    passed = []
    for number, settings in enumerate(stages, start=1):
        what = "student" if len(stages) == 1 else f"student stage {number} of {len(stages)}"

        def run(settings: Distill = settings, what: str = what) -> Passed:
            return _stage(job, student, teachers, settings, tokens=tokens, what=what)

        passed.append(run() if number == len(stages) else _once(job.work / f"stage-{number}", student, run))
    return tuple(passed)


def _stage(
    job: Job, student: nn.Module, teachers: Teachers, settings: Distill, *, tokens: Tokenizing, what: str
) -> Passed:
    teaching = prepare(student, teachers, splits=job.splits, settings=settings, tokens=tokens)
    if settings.active is None:
        metrics = job.train(student, teaching, settings, what=what)
        return Passed(metrics=metrics, record=teaching.record(tokens, teachers))
    asked = ask_in_rounds(job, student, teaching, teachers, settings=settings, what=what)
    return Passed(metrics=asked.metrics, record=asked.teaching.record(tokens, teachers, rounds=asked.rounds))


def _on_labels(job: Job, student: nn.Module, stages: tuple[Distill, ...], *, tokens: Tokenizing) -> tuple[Passed, ...]:
    teaching = untaught(job.splits, tokens, max_length=job.max_length)
    metrics = job.train(student, teaching, _control_of(stages), what="control")
    return (Passed(metrics=metrics, record=teaching.record(tokens)),)


def _once(folder: Path, student: nn.Module, run: Callable[[], Passed]) -> Passed:
    """Run a stage, or take up the weights that it left when a later one was broken off."""
    weights, record = folder / "model.safetensors", folder / "passed.json"
    if record.is_file():
        load_model(student, weights)
        progress.say(f"going on after {folder.name}")
        found = json.loads(record.read_text(encoding="utf-8"))
        return Passed(metrics=found["metrics"], record=TrainingRecord.model_validate(found["record"]))
    passed = run()
    if processes.is_first():
        with staged(folder) as aside:
            save_model(student, str(aside / weights.name))
            found = {**asdict(passed), "record": passed.record.model_dump(mode="json")}
            (aside / record.name).write_text(json.dumps(found), encoding="utf-8")
    processes.wait()
    return passed


def _control_of(stages: tuple[Distill, ...]) -> Distill:
    """The last stage's settings, for as many epochs as all stages together."""
    rounds = [stage.active.rounds if stage.active else 1 for stage in stages]
    epochs = sum(stage.epochs * count for stage, count in zip(stages, rounds, strict=True))
    return stages[-1].model_copy(update={"epochs": epochs, "objective": (HardLabels(term="hard_labels"),)})


def _named(teachers: Teachers, teacher: Bundle) -> str | None:
    return ", ".join(voice.name for voice in teachers.voices) or teacher.manifest.lineage.teacher


def _described(stages: tuple[Distill, ...]) -> tuple[str, ...]:
    return tuple(
        (f"stage {number}: " if len(stages) > 1 else "") + _describe(term)
        for number, stage in enumerate(stages, start=1)
        for term in stage.objective
    )


def _describe(term: object) -> str:
    fields = {key: value for key, value in vars(term).items() if key != "term"}
    return f"{vars(term)['term']}({', '.join(f'{key}={value}' for key, value in fields.items())})"
