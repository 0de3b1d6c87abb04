"""A student through the stages of its recipe; and its control, the same student on labels alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.asking import ask_in_rounds
from kd_deploy.distill.bundling import Outcome
from kd_deploy.distill.job import Job
from kd_deploy.distill.memory import enough_memory
from kd_deploy.distill.narrowed import seen_from, tokenizing
from kd_deploy.distill.opening import open_predictor
from kd_deploy.distill.sequences import with_sequences
from kd_deploy.distill.stages import control_of, described
from kd_deploy.distill.standing import keep, take_up
from kd_deploy.distill.students.build import build_student, own_start, usual_rate
from kd_deploy.distill.students.entries import with_entries
from kd_deploy.distill.subject import Subject, require_comparable, require_fitting
from kd_deploy.distill.teachers import open_teachers
from kd_deploy.distill.teaching import prepare, untaught
from kd_deploy.distill.terms import MakeTerm
from kd_deploy.errors import DataError
from kd_deploy.manifest import TaskRecord, TrainingRecord
from kd_deploy.recipe import Distill
from kd_deploy.tasks.heads import MAIN, joint_labels, speaking_of
from kd_deploy.tasks.task import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A stage that is over, for one task: the scores on validation after it, and what was learned from."""

    metrics: dict[str, float]
    record: TrainingRecord


def distill_student(
    job: Job, teacher: Bundle, output: Path, *, control: bool = False, further: Mapping[str, Bundle] | None = None
) -> Bundle:
    """Train the recipe's student on its teacher, or, as the control, on labels alone.

    Both start from the same weights and see the same rows for the same number of epochs.

    Args:
        job: The recipe and its rows.
        teacher: Of the main task.
        output: Where the student goes.
        control: Whether it learns from labels alone.
        further: The teachers of the recipe's further tasks, by name.

    Raises:
        TrainingError: Training cannot go on.
        RecipeError: The student's sizes or a term do not fit the teacher.
        DataError: The teacher's classes are not those of the data.
    """
    job = _answered(job, teacher)
    subjects = _subjects(job, {MAIN: teacher, **(further or {})}, control=control)
    main = subjects[MAIN]
    with enough_memory("the student", hint="choose smaller sizes in the section student"):
        student = build_student(
            job.recipe.student,
            teacher=main.teachers.model,
            teacher_folder=teacher.path,
            labels=joint_labels(job.heads),
            seed=job.recipe.stages[0].seed,
        )
    require_comparable(student, main)
    if main.tokens.kept is not None:
        student = with_entries(student, main.tokens.kept)
    for name, one in subjects.items():
        with speaking_of(name):
            require_fitting(student, one, () if control else job.recipe.stages)
    recipe = job.recipe
    rate = partial(usual_rate, recipe.student, main.teachers.model, task=recipe.task, untrained=recipe.untrained)
    stages = tuple(
        stage.model_copy(update={"learning_rate": stage.learning_rate or rate(adapted=stage.adapter is not None)})
        for stage in job.recipe.stages
    )
    passed = _on_labels(job, student, subjects, stages) if control else _through_stages(job, student, subjects, stages)
    lineage = job.lineage(
        teacher=None if control or main.teachers.remote else teacher.path,  # what teaches on a server has no file here
        name=None if control else main.taught_by,
        settings=job.recipe.stages[-1],
        terms=("hard_labels",) if control else (*described(job.recipe.stages), *map(_named, job.terms)),
    )
    records = {name: tuple(one[name].record for one in passed) for name in subjects}
    tasks = {
        name: TaskRecord(
            labels=head.labels.names,
            problem_type=head.labels.problem_type,
            output=head.output,
            teacher=None if control else subjects[name].taught_by,
            data_sha256=subjects[name].splits.train.sha256,
            metrics=passed[-1][name].metrics,
            training=records[name],
        )
        for name, head in job.heads.items()
        if name != MAIN
    }
    outcome = Outcome(metrics=passed[-1][MAIN].metrics, training=records[MAIN], tasks=tasks)
    return job.write(student, output, tokenizer=main.tokens.folder, lineage=lineage, outcome=outcome)


def _named(make: MakeTerm) -> str:
    return str(getattr(make, "__name__", type(make).__name__))


def _answered(job: Job, teacher: Bundle) -> Job:
    """The job with validation rows that say what is right: where nobody did, the teacher does."""
    validation = job.splits.validation
    if validation.answered:
        return job
    with open_predictor(teacher.path, max_length=job.max_length) as predictor:
        validation = validation.answered_by(predictor.predictions(validation))
    return replace(job, splits=replace(job.splits, validation=validation))


def _subjects(job: Job, given: Mapping[str, Bundle], *, control: bool) -> dict[str, Subject]:
    jobs = {name: job.of_task(name) for name in given}
    for name, teacher in given.items():
        with speaking_of(name):
            _require_classes(teacher, jobs[name].labels)
    start = own_start(job.recipe.student) or given[MAIN].path
    tokens = tokenizing(
        job.recipe.student.vocabulary,
        checkpoint=start,
        texts=[text for one in jobs.values() for text in (*one.splits.train.inputs, *one.splits.unlabeled)],
        validation=[text for one in jobs.values() for text in one.splits.validation.inputs],
        work=job.work / processes.own("tokenizer"),
    )
    return {
        name: Subject(
            splits=jobs[name].splits,
            teachers=open_teachers(
                None if control else jobs[name].recipe.teacher,
                teacher,
                validation=jobs[name].splits.validation,
                max_length=job.max_length,
            ),
            tokens=seen_from(tokens, teacher.path, checkpoint=start),
            teacher=teacher,
            terms=jobs[name].terms,
        )
        for name, teacher in given.items()
    }


def _require_classes(teacher: Bundle, labels: LabelSpace) -> None:
    if teacher.manifest.labels != labels.names:
        raise DataError(
            f"the teacher's classes are {list(teacher.manifest.labels)}, the data's {list(labels.names)}",
            hint="rename the labels to the teacher's, or add teacher.finetune",
        )


def _through_stages(
    job: Job, student: nn.Module, subjects: Mapping[str, Subject], stages: tuple[Distill, ...]
) -> tuple[dict[str, Passed], ...]:
    passed = []
    for number, settings in enumerate(stages, start=1):
        what = "student" if len(stages) == 1 else f"student stage {number} of {len(stages)}"

        def run(settings: Distill = settings, what: str = what) -> dict[str, Passed]:
            return _stage(job, student, subjects, settings, what=what)

        if number == len(stages):
            passed.append(run())
        else:
            passed.append(_once(job.work / f"stage-{number}", student, run))
            job.forget(what)
    return tuple(passed)


def _stage(
    job: Job, student: nn.Module, subjects: Mapping[str, Subject], settings: Distill, *, what: str
) -> dict[str, Passed]:
    teachings = {}
    for name, one in subjects.items():
        with speaking_of(name):
            rows = with_sequences(one.splits, one.teachers, settings.sequences, generation=job.recipe.generation)
            teachings[name] = prepare(
                student, one.teachers, splits=rows, settings=settings, tokens=one.tokens, own=one.terms
            )
    if settings.active is None:
        metrics = job.train_together(student, teachings, settings, what=what)
        return {
            name: Passed(metrics=metrics[name], record=teachings[name].record(one.tokens, one.teachers))
            for name, one in subjects.items()
        }
    main = subjects[MAIN]  # there is no other beside it: the recipe says so
    asked = ask_in_rounds(job, student, teachings[MAIN], main.teachers, settings=settings, what=what)
    record = asked.teaching.record(main.tokens, main.teachers, rounds=asked.rounds)
    return {MAIN: Passed(metrics=asked.metrics, record=record)}


def _on_labels(
    job: Job, student: nn.Module, subjects: Mapping[str, Subject], stages: tuple[Distill, ...]
) -> tuple[dict[str, Passed], ...]:
    all_texts = any(stage.texts != "labeled" for stage in stages)
    teachings = {
        name: untaught(one.splits, one.tokens, max_length=job.max_length, all_texts=all_texts)
        for name, one in subjects.items()
    }
    metrics = job.train_together(student, teachings, control_of(stages), what="control")
    return (
        {
            name: Passed(metrics=metrics[name], record=teachings[name].record(one.tokens))
            for name, one in subjects.items()
        },
    )


def _once(folder: Path, student: nn.Module, run: Callable[[], dict[str, Passed]]) -> dict[str, Passed]:
    """Run a stage, or take up the weights that it left when a later one was broken off."""
    standing = take_up(folder, student)
    if standing:
        return {
            name: Passed(metrics=one["metrics"], record=TrainingRecord.model_validate(one["record"]))
            for name, one in json.loads(standing).items()
        }
    passed = run()
    found = {
        name: {"metrics": one.metrics, "record": one.record.model_dump(mode="json")} for name, one in passed.items()
    }
    keep(folder, student, json.dumps(found))
    return passed
