"""What the models of a recipe will be, from their configs and tokenizers alone, before one of them is trained."""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.checkpoints import config_of, find_model
from kd_deploy.distill.heads import auto_class
from kd_deploy.distill.narrowed import Tokenizing, seen_from
from kd_deploy.distill.observe import Shape, shape_of, shape_of_config
from kd_deploy.distill.scratch import scratch_config
from kd_deploy.distill.scratch_writers import writer_sizes
from kd_deploy.distill.students.build import own_start
from kd_deploy.distill.students.dropout import set_dropout
from kd_deploy.distill.students.pooling import Pooling, embedder
from kd_deploy.distill.students.transformer import depth_of, student_config
from kd_deploy.distill.students.writers import writing_config
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Recipe, ScratchModel, StaticStudent, Student, TransformerStudent
from kd_deploy.recipe.fitting import WRITING
from kd_deploy.recipe.objective import AnyTerm
from kd_deploy.tasks.registry import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

READING = ("attention_mse", "attention_kl", "relations")  # terms that need attention as we know it
LAYERS, WORDS = 2, 64  # of a model that is asked for its kind alone


def teacher_config(recipe: Recipe) -> "PreTrainedConfig | None":
    """The config of the transformer that teaches; None for a teacher of another kind."""
    teacher = recipe.teacher
    if teacher is None:
        return None
    if teacher.scratch is not None:
        return _config_from_scratch(recipe, teacher.scratch)
    return _config_in(find_model(str(teacher.first)))


def expected_config(
    student: TransformerStudent, teacher: "PreTrainedConfig | None", *, task: str
) -> "PreTrainedConfig | None":
    """The config that the student will have; None where it starts from what is no transformer.

    Raises:
        RecipeError: Sizes that do not fit each other or the teacher.
    """
    start = own_start(student)
    if start is not None:
        config = _config_in(start)
        if config is not None:
            set_dropout(config, student.dropout)
        return config
    if teacher is None:
        return None
    return (writing_config if task in WRITING else student_config)(teacher, student)


def expected_shape(
    student: Student, teacher: "PreTrainedConfig", *, task: str, terms: Sequence[AnyTerm]
) -> Shape | None:
    """The shape that the student will have; None for a start that is no transformer.

    Args:
        student: The student section of the recipe.
        teacher: The config of the one that it is built from.
        task: Of the student.
        terms: As for `shape_from`.

    Raises:
        RecipeError: As for `expected_config`.
    """
    if isinstance(student, TransformerStudent):
        config = expected_config(student, teacher, task=task)
        return None if config is None else shape_from(config, task=task, terms=terms)
    embedding = student.embedding_size or shape_of_config(teacher).embedding_width
    depth, width = 0, 0
    if not isinstance(student, StaticStudent):
        depth, width = 1, student.hidden_size * (2 if student.architecture == "bilstm" else 1)
    return Shape(name=student.architecture, depth=depth, width=width, embedding_width=embedding, heads=None)


def shape_from(config: "PreTrainedConfig", *, task: str, terms: Sequence[AnyTerm]) -> Shape:
    """What a transformer of this config will show.

    Args:
        config: Of the transformer.
        task: Whose head it has.
        terms: What is to be compared; where none of them looks at attention, nobody asks whether it can be read.
    """
    shape = shape_of_config(config)
    if task in WRITING or config.is_encoder_decoder:  # there are three kinds of attention in it
        return replace(shape, heads=None)
    if not any(getattr(one, "term", None) in READING for one in terms):
        return shape
    with torch.random.fork_rng(devices=()):
        told = shape_of(_made(_shallow(config), task))
    return shape if told.heads else replace(shape, heads=None)


def same_tokenizer(recipe: Recipe, *, start: Path | None) -> bool:
    """Whether a student starts from the tokenizer of its teacher, as far as that is known before any text is read.

    Args:
        recipe: Of one task.
        start: Whose tokenizer the student takes; None where it is not made yet.
    """
    first = recipe.teacher.first if recipe.teacher else None
    if start is None or first is None:
        return True
    return seen_from(Tokenizing(folder=start), find_model(first), checkpoint=start).same_tokens


def blank(config: "PreTrainedConfig", *, task: str) -> nn.Module:
    """A model of this config without weights.

    Raises:
        RecipeError: transformers has no such model for the task.
    """
    with torch.device("meta"):
        model = _made(config, task)
    return embedder(model, Pooling()) if TASKS[task].ANSWERS == "vector" else model


def _shallow(config: "PreTrainedConfig") -> "PreTrainedConfig":
    """A config of the same widths with few layers and few words, so that its model is made in no time."""
    few = copy.deepcopy(config)
    with contextlib.suppress(RecipeError):  # a family of which we make no students
        few = student_config(config, TransformerStudent(layers=min(LAYERS, depth_of(config))))
    few.vocab_size, few.pad_token_id = min(WORDS, few.vocab_size), 0
    return few


def _made(config: "PreTrainedConfig", task: str) -> nn.Module:
    try:
        model: nn.Module = auto_class(task).from_config(config, attn_implementation="eager", dtype=torch.float32)
    except ValueError as error:
        raise RecipeError(
            f"a {config.model_type} has no head for {task} in transformers", hint="name another checkpoint"
        ) from error
    return model


def _config_from_scratch(recipe: Recipe, settings: ScratchModel) -> "PreTrainedConfig":
    """The sizes of a teacher that is trained from nothing."""
    vocabulary, room = settings.vocabulary, recipe.data.max_length
    if recipe.task in WRITING:
        return writer_sizes(settings, task=recipe.task, vocabulary=vocabulary, max_length=room)
    return scratch_config(settings, vocabulary=vocabulary, max_length=room)


def _config_in(folder: Path) -> "PreTrainedConfig | None":
    """The config of a transformer's checkpoint; None: it holds a model of another kind."""
    return None if str(check_checkpoint(folder).get("model_type")).startswith("kd-") else config_of(folder)
