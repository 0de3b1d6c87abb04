"""What can be known to fail before anything is trained: students and terms that do not fit the teacher."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill import processes
from kd_deploy.distill.adopt import check_fits
from kd_deploy.distill.checkpoints import config_of, find_model, labels_of
from kd_deploy.distill.conditional_mlm import check_filling, filling_teacher, fills_pairs
from kd_deploy.distill.observe import Shape, shape_of_config
from kd_deploy.distill.parting import parting
from kd_deploy.distill.scratch import scratch_config
from kd_deploy.distill.scratch_writers import writer_sizes
from kd_deploy.distill.stage import check_stage
from kd_deploy.distill.students.build import check_student, own_start
from kd_deploy.distill.students.transformer import depth_of, student_config
from kd_deploy.distill.students.writers import starts_fresh, writing_config
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.tokenizer_files import tokenizer_file
from kd_deploy.distill.training_arguments import require_trackers
from kd_deploy.distill.transfer import mask_in
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Recipe, ScratchModel, Student, Teacher, TransformerStudent
from kd_deploy.recipe.fitting import WRITING
from kd_deploy.tasks.encoding import open_tokenizer
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
        MissingExtraError: A tracker that is not installed.
    """
    _check_one_process(recipe)
    for training in (recipe.teacher.finetune if recipe.teacher else None, *recipe.stages):
        if training:
            require_trackers(training)
    _check_lengths(recipe)
    _check_entries(recipe)
    _check_masks(recipe)
    check_filling(recipe)
    config = _teacher_config(recipe)
    _check_adapters(recipe, config)
    if config is None:
        return
    check_student(recipe.student, config, task=recipe.task)
    student = _expected(recipe.student, config, task=recipe.task)
    if student is None:
        return
    _check_terms(recipe, student, config, labels.get(MAIN))
    for name in recipe.tasks:
        with speaking_of(name):
            task = recipe.of_task(name)
            teacher = _teacher_config(task)
            if teacher is not None:
                _check_terms(task, student, teacher, labels.get(name))


def _check_lengths(recipe: Recipe) -> None:
    """Refuse texts longer than one of the checkpoints has positions for."""
    several = recipe.teacher.several if recipe.teacher else ()
    start = own_start(recipe.student)
    for folder in (*(find_model(one.model) for one in several), *((start,) if start else ())):
        check_fits(folder, max_length=recipe.data.max_length)


def _check_masks(recipe: Recipe) -> None:
    """Refuse to mask words by a token that the teacher's tokenizer does not have."""
    masking = next((stage.augment for stage in recipe.stages if stage.augment and stage.augment.mask), None)
    if masking and recipe.teacher and recipe.teacher.first:
        folder = find_model(recipe.teacher.first)
        mask_in(open_tokenizer(tokenizer_file(folder)), masking, checkpoint=folder)


def _check_terms(recipe: Recipe, student: Shape, teacher: "PreTrainedConfig", labels: LabelSpace | None) -> None:
    shapes = (student, shape_of_config(teacher))
    if recipe.task in WRITING:  # no attention of theirs can be read
        shapes = (replace(shapes[0], heads=None), replace(shapes[1], heads=None))
    ground = Ground(
        student=shapes[0],
        teacher=shapes[1],
        level=TASKS[recipe.task].LEVEL,
        answers=TASKS[recipe.task].ANSWERS,
        several=bool(labels and labels.is_multi),
        classes=len(labels.names) if labels else None,
        answers_only=bool(recipe.teacher and recipe.teacher.endpoint) or filling_teacher(recipe) is not None,
    )
    for stage in recipe.stages:
        check_stage(stage, build_objective(stage.objective, ground))


def _check_one_process(recipe: Recipe) -> None:
    if recipe.tasks and processes.count() > 1:
        raise RecipeError(
            f"tasks are learned together in one process, and a launcher started {processes.count()}",
            hint="start kd-deploy without torchrun or accelerate launch",
        )


def _check_entries(recipe: Recipe) -> None:
    """Refuse a student whose vocabulary is not its teacher's where the teacher is to say its entries."""
    start, first = own_start(recipe.student), recipe.teacher.first if recipe.teacher else None
    if start is None or first is None or recipe.task not in ("fill-mask", *WRITING):
        return
    if all(term.term == "hard_labels" for stage in recipe.stages for term in stage.objective):
        return
    apart = parting(start, find_model(first))
    if apart:
        learns = "learn by distill.sequences and hard_labels alone, which compare texts"
        raise RecipeError(
            f"student.init {start} and teacher.model {first} have different vocabularies: {apart}",
            hint=learns if recipe.task == "text2text" else "start from a checkpoint with the teacher's tokenizer",
        )


def _check_adapters(recipe: Recipe, teacher: "PreTrainedConfig | None") -> None:
    """Refuse adapters where there is no transformer to adapt, or one of random weights, which would stay so."""
    student = recipe.student
    adapter = next((stage.adapter for stage in recipe.stages if stage.adapter), None)
    if adapter is None:
        return
    if not isinstance(student, TransformerStudent):
        raise RecipeError(
            f"distill.adapter: {adapter.method} adapts a transformer, student.architecture is {student.architecture}",
            hint="choose student.architecture: transformer, or leave distill.adapter out",
        )
    if recipe.stages[0].adapter is None:
        return
    if student.init == "random" or (student.init == "teacher" and teacher and _other_widths(recipe, teacher)):
        raise RecipeError(
            f"distill.adapter: {adapter.method} leaves the student's weights as they start, which is at random here",
            hint="choose student.init: teacher and the teacher's widths, or train all weights in the first stage",
        )


def _other_widths(recipe: Recipe, teacher: "PreTrainedConfig") -> bool:
    student = recipe.student
    assert isinstance(student, TransformerStudent)  # noqa: S101 - the caller has just asked
    if recipe.task in WRITING:
        return starts_fresh(student, teacher)
    as_deep = student.model_copy(update={"layers": depth_of(teacher)})
    return bool(student_config(teacher, as_deep).to_dict() != teacher.to_dict())


def _config_from_scratch(recipe: Recipe, settings: ScratchModel) -> "PreTrainedConfig":
    """The sizes of a teacher that is trained from nothing."""
    vocabulary, room = settings.vocabulary, recipe.data.max_length
    if recipe.task in WRITING:
        return writer_sizes(settings, task=recipe.task, vocabulary=vocabulary, max_length=room)
    return scratch_config(settings, vocabulary=vocabulary, max_length=room)


def _teacher_config(recipe: Recipe) -> "PreTrainedConfig | None":
    """The config of the transformer that teaches; None for a teacher of another kind."""
    teacher = recipe.teacher
    if teacher is None:
        return None
    if teacher.scratch is not None:
        return _config_from_scratch(recipe, teacher.scratch)
    return _config_in(find_model(str(teacher.first)))


def _config_in(folder: Path) -> "PreTrainedConfig | None":
    """The config of a transformer's checkpoint; None: it holds a model of another kind."""
    return None if str(check_checkpoint(folder).get("model_type")).startswith("kd-") else config_of(folder)


def _expected(student: Student, teacher: "PreTrainedConfig", *, task: str) -> Shape | None:
    """The shape that the student will have; None for a start that is no transformer."""
    if isinstance(student, TransformerStudent):
        start = own_start(student)
        if start is not None:
            own = _config_in(start)
            return None if own is None else shape_of_config(own)
        return shape_of_config((writing_config if task in WRITING else student_config)(teacher, student))
    if student.architecture == "lstm":
        embedding = student.embedding_size or shape_of_config(teacher).embedding_width
        return Shape(name="lstm", depth=1, width=student.hidden_size, embedding_width=embedding, heads=None)
    embedding = student.embedding_size or shape_of_config(teacher).embedding_width
    if student.architecture == "static":
        return Shape(name="static", depth=0, width=0, embedding_width=embedding, heads=None)
    return Shape(name="bilstm", depth=1, width=2 * student.hidden_size, embedding_width=embedding, heads=None)
