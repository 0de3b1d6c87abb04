"""What can be known to fail before anything is trained: students and terms that do not fit the teacher."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill import processes
from kd_deploy.distill.adapters import check_adaptable, load_peft
from kd_deploy.distill.adopt import check_fits
from kd_deploy.distill.check_tokens import check_entries, check_tokens, first_teacher
from kd_deploy.distill.checkpoints import find_model, labels_of
from kd_deploy.distill.conditional_mlm import check_filling, filling_teacher, fills_pairs
from kd_deploy.distill.endpoint import check_endpoint
from kd_deploy.distill.expected import (
    blank,
    expected_config,
    expected_shape,
    same_tokenizer,
    shape_from,
    teacher_config,
)
from kd_deploy.distill.observe import word_vectors
from kd_deploy.distill.precision import require_format
from kd_deploy.distill.stage import check_silence, check_stage
from kd_deploy.distill.students.build import check_student, own_start, starts_at_random
from kd_deploy.distill.students.dropout import rates_of
from kd_deploy.distill.students.first_words import check_narrower
from kd_deploy.distill.students.own import FAMILIES
from kd_deploy.distill.students.transformer import layer_list
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.terms.ground import ITS_OWN, WHOLE
from kd_deploy.distill.training_arguments import require_trackers
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Recipe, Student, Teacher, TransformerStudent
from kd_deploy.recipe.fitting import WRITING
from kd_deploy.tasks.heads import MAIN, speaking_of
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.task import LabelSpace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def teacher_labels(teacher: Teacher, task: str) -> tuple[str, ...]:
    """The classes that a recipe's teacher knows already; empty where it is to be fine-tuned.

    Raises:
        RecipeError: The teacher is to be used as it is, and has no head of the task, or is one of several tasks.
    """
    if teacher.finetune or teacher.endpoint or teacher.first is None:
        return ()
    folder = find_model(teacher.first)
    if (folder / MANIFEST).is_file() and Bundle.open(folder).manifest.tasks:
        raise RecipeError(
            f"teacher.model {teacher.first} has several tasks, and a teacher is asked about one",
            hint="name a teacher of one task, or add teacher.finetune",
        )
    if fills_pairs(folder, task):
        return ()
    labels = labels_of(folder, task)
    if labels is None:
        raise RecipeError(
            f"teacher.model {teacher.first} has no head for {task}",
            hint="add teacher.finetune to the recipe, to train one on your labels",
        )
    return labels.names


def check_recipe(recipe: Recipe, labels: Mapping[str, LabelSpace] = MappingProxyType({})) -> None:
    """Refuse a student or a term that does not fit the teacher, from their sizes alone.

    Args:
        recipe: What is to be done.
        labels: The classes of each task, where its rows have been read.

    Raises:
        RecipeError: Layers, widths or terms that do not fit.
        MissingExtraError: A tracker, or peft, that is not installed.
        TrainingError: A precision that this hardware does not have.
    """
    _check_one_process(recipe)
    tasks = {MAIN: recipe} | {name: recipe.of_task(name) for name in recipe.tasks}
    for name, task in tasks.items():
        with speaking_of(name):
            _check_alone(task)
            if task.teacher and task.teacher.endpoint:
                check_endpoint(task.teacher.endpoint, labels.get(name))
                check_silence(task.teacher.endpoint, task.stages)
            first = None if name == MAIN else first_teacher(task)  # the main task's is opened before it is trained
            if first is not None:
                check_fits(first, max_length=task.data.max_length)
    check_entries(recipe)
    check_filling(recipe)
    _check_start(recipe.student)
    config = teacher_config(recipe)
    _check_adapters(recipe, config)
    _check_two_passes(recipe, config)
    if config is None:
        return
    check_student(recipe.student, config, task=recipe.task)
    _check_copied(recipe, recipe.student, config)
    start = own_start(recipe.student) or first_teacher(recipe)
    for name, task in tasks.items():
        with speaking_of(name):
            _check_terms(task, config, start=start, labels=labels.get(name))


def _check_alone(recipe: Recipe) -> None:
    """Refuse what fails whatever the other tasks are."""
    for training in (recipe.teacher.finetune if recipe.teacher else None, *recipe.stages):
        if training:
            require_trackers(training)
            require_format(training.precision)
    check_tokens(recipe)


def _check_terms(recipe: Recipe, main: "PreTrainedConfig", *, start: Path | None, labels: LabelSpace | None) -> None:
    """Refuse terms that do not fit a task: its teacher, and the student that the main teacher leads to."""
    teacher = teacher_config(recipe)
    if teacher is None:
        return
    terms = [term for stage in recipe.stages for term in stage.objective]
    student = expected_shape(recipe.student, main, task=recipe.task, terms=terms)
    if student is None:
        return
    ground = Ground(
        student=student,
        teacher=shape_from(teacher, task=recipe.task, terms=terms),
        level=TASKS[recipe.task].LEVEL,
        answers=TASKS[recipe.task].ANSWERS,
        several=bool(labels and labels.is_multi),
        classes=len(labels.names) if labels else None,
        answers_only=bool(recipe.teacher and recipe.teacher.endpoint) or filling_teacher(recipe) is not None,
    )
    answers, alike, whole = [], same_tokenizer(recipe, start=start), recipe.student.vocabulary == "full"
    for stage in recipe.stages:
        same = alike and (whole or not stage.augment)
        known = replace(ground, same_tokens=same, remedy=WHOLE if alike else ITS_OWN)
        objective = build_objective(stage.objective, known)
        check_stage(stage, objective, max_length=recipe.data.max_length)
        answers.append(objective.answers)
    if not any(answers) and _head_at_random(recipe, main):
        raise RecipeError(
            f"distill.objective: no term trains the head of a {student.name}, which starts at random",
            hint="add soft_targets or hard_labels",
        )


def _head_at_random(recipe: Recipe, teacher: "PreTrainedConfig") -> bool:
    """Whether a student brings no head from where it starts."""
    if isinstance(recipe.student, TransformerStudent):
        return starts_at_random(recipe.student, teacher, task=recipe.task, untrained=recipe.untrained)
    return True


def _check_one_process(recipe: Recipe) -> None:
    if recipe.tasks and processes.count() > 1:
        raise RecipeError(
            f"tasks are learned together in one process, and a launcher started {processes.count()}",
            hint="start kd-deploy without torchrun or accelerate launch",
        )


def _check_start(student: Student) -> None:
    """Refuse a start of another kind than the student."""
    start = own_start(student)
    if start and check_checkpoint(start).get("model_type") in FAMILIES:
        raise RecipeError(
            f"student.init: {student.init} is no transformer, and student.architecture is one",
            hint="start from a transformer, or take that model for the teacher",
        )


def _check_adapters(recipe: Recipe, teacher: "PreTrainedConfig | None") -> None:
    """Refuse adapters where there is no transformer to adapt, or one of random weights, which would stay so."""
    student = recipe.student
    adapters = [stage.adapter for stage in recipe.stages if stage.adapter]
    if not adapters:
        return
    load_peft()
    method = adapters[0].method
    if not isinstance(student, TransformerStudent):
        raise RecipeError(
            f"distill.adapter: {method} adapts a transformer, student.architecture is {student.architecture}",
            hint="choose student.architecture: transformer, or leave distill.adapter out",
        )
    at_random = student.init == "random" or (
        teacher is not None and starts_at_random(student, teacher, task=recipe.task, untrained=recipe.untrained)
    )
    if recipe.stages[0].adapter and at_random:
        raise RecipeError(
            f"distill.adapter: {method} leaves the student's weights as they start, which is at random here",
            hint="choose student.init: teacher and the teacher's widths, or train all weights in the first stage",
        )
    config = expected_config(student, teacher, task=recipe.task)
    for adapter in adapters if config else ():
        check_adaptable(blank(config, task=recipe.task), adapter)


def _check_copied(recipe: Recipe, student: Student, teacher: "PreTrainedConfig") -> None:
    """Refuse to copy what models of the teacher's kind do not have: a list of layers, or word vectors as wide."""
    if student.init != "teacher" or recipe.task in WRITING:
        return
    if isinstance(student, TransformerStudent):
        if not starts_at_random(student, teacher, task=recipe.task):
            layer_list(blank(teacher, task=recipe.task))
    elif student.embedding_size:
        check_narrower(student.embedding_size, word_vectors(blank(teacher, task=recipe.task)).embedding_dim)


def _check_two_passes(recipe: Recipe, teacher: "PreTrainedConfig | None") -> None:
    """Refuse to compare two passes with dropout of a student that has none: they would always agree."""
    for stage in recipe.stages:
        disagrees = stage.active is not None and stage.active.strategy == "disagreement"
        # Adapters bring their own to a training, and are merged before questions are chosen.
        if not disagrees and (not stage.r_drop or (stage.adapter and stage.adapter.dropout)):
            continue
        if isinstance(recipe.student, TransformerStudent):
            config = expected_config(recipe.student, teacher, task=recipe.task)
            left_out = config is None or any(rates_of(blank(config, task=recipe.task)))
        else:
            left_out = recipe.student.dropout > 0
        if not left_out:
            what = "active.strategy: disagreement" if disagrees else "r_drop"
            raise RecipeError(
                f"distill.{what} is between two passes with dropout, and the student has none",
                hint=f"set student.dropout to 0.1, or leave {what.partition(':')[0]} out",
            )
