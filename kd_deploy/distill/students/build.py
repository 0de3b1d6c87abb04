"""A student of the kind and size that a recipe asks for, with its first weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kd_deploy import progress
from kd_deploy.distill.checkpoints import find_model, load_model
from kd_deploy.distill.heads import auto_class, label_fields
from kd_deploy.distill.observe import word_vectors
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.students.depth import copied_depths, takes_layers
from kd_deploy.distill.students.first_words import reduced, start_words
from kd_deploy.distill.students.own import OwnStudent, is_ours
from kd_deploy.distill.students.pooling import Embedder, embedder
from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq
from kd_deploy.distill.students.static import Static, StaticConfig
from kd_deploy.distill.students.transformer import (
    copied_layers,
    copy_weights,
    depth_of,
    heads_of,
    inner_of,
    student_config,
    width_of,
)
from kd_deploy.distill.students.writers import ANY_LENGTH, lstm_writer, starts_fresh, transformer_writer, writing_config
from kd_deploy.distill.tokenizer_files import pad_id_of
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import BilstmStudent, LstmStudent, StaticStudent, Student, TransformerStudent, start_of
from kd_deploy.recipe.fitting import WRITING
from kd_deploy.tasks.registry import task_of, writes
from kd_deploy.tasks.task import LabelSpace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SIZES = ("layers", "encoder_layers", "hidden_size", "intermediate_size", "attention_heads", "teacher_layers")
KINDS = {
    Bilstm: ("a BiLSTM", "bilstm or static"),
    Static: ("a static model", "bilstm or static"),
    LstmSeq2Seq: ("an LSTM", "lstm"),
}
COPIED_RATE, FRESH_RATE, OWN_RATE = 1e-4, 5e-4, 1e-3  # copied layers; layers at random; bilstm and static
ADAPTED_RATE = 1e-3  # matrices beside layers that stay as they are


def build_student(
    settings: Student,
    *,
    teacher: nn.Module,
    teacher_folder: Path,
    labels: LabelSpace,
    seed: int,
) -> nn.Module:
    """A fresh student; the same seed gives the same weights.

    Args:
        settings: The student section of the recipe.
        teacher: The classifier to take sizes and weights from.
        teacher_folder: Where its tokenizer lies.
        labels: The classes of the student's logits.
        seed: Of the random part of the weights.

    Raises:
        RecipeError: Sizes that do not fit each other or the teacher.
    """
    torch.manual_seed(seed)
    if isinstance(settings, TransformerStudent):
        return _transformer(settings, teacher=teacher, labels=labels)
    vectors: torch.Tensor = word_vectors(teacher).weight.detach()  # [V, E]
    student: OwnStudent
    if isinstance(settings, LstmStudent):
        student = lstm_writer(settings, vectors=vectors, folder=teacher_folder)
    else:
        student = _own(settings, vectors=vectors, folder=teacher_folder, labels=labels)
    if settings.init == "teacher":
        with torch.no_grad():
            student.embedding.weight.copy_(_started(student, vectors))
    return student


def check_student(settings: Student, teacher: "PreTrainedConfig", *, task: str) -> None:
    """Refuse sizes that do not fit the teacher's, before anything is trained.

    Raises:
        RecipeError: As `build_student` would later.
    """
    if not isinstance(settings, TransformerStudent):
        return
    if own_start(settings):
        given = [name for name in SIZES if getattr(settings, name) is not None]
        if given:
            raise RecipeError(
                f"student.{given[0]}: the sizes are those of student.init {settings.init}",
                hint=f"leave {given[0]} out, or set init: teacher",
            )
        return
    if task in WRITING:
        config = writing_config(teacher, settings)
        if settings.init == "teacher" and takes_layers(config, teacher):
            copied_depths(config, teacher)
    else:
        _check_copied(settings, student_config(teacher, settings), teacher)


def _check_copied(settings: TransformerStudent, config: "PreTrainedConfig", teacher: "PreTrainedConfig") -> None:
    if settings.init == "teacher" and _takes_layers(config, teacher):
        copied_layers(settings, teacher_depth=depth_of(teacher), student_depth=depth_of(config))
    elif settings.teacher_layers is not None:
        why = "with init: random" if settings.init == "random" else "where the widths are not the teacher's"
        raise RecipeError(f"student.teacher_layers: no layer is copied {why}", hint="leave teacher_layers out")


def own_start(settings: Student) -> Path | None:
    """The checkpoint that a student starts from; None for the teacher, or for random weights."""
    start = start_of(settings)
    return None if start is None else find_model(start)


def usual_rate(
    settings: Student, teacher: nn.Module, *, task: str, untrained: bool = False, adapted: bool = False
) -> float:
    """The learning rate for a student of which the recipe gives none.

    Chosen on validation data: weights that were learned before move less than those that start at random.

    Args:
        settings: The student's section of the recipe.
        teacher: What the student is built from.
        task: Of the student.
        untrained: Whether the teacher's own weights are random.
        adapted: Whether adapters are trained in place of the weights.
    """
    if adapted:
        return ADAPTED_RATE
    if not isinstance(settings, TransformerStudent):
        return OWN_RATE
    config: Any = getattr(teacher, "config", None)  # one of our own has none, and is no start for a transformer
    return FRESH_RATE if starts_at_random(settings, config, task=task, untrained=untrained) else COPIED_RATE


def starts_at_random(
    settings: TransformerStudent, teacher: "PreTrainedConfig", *, task: str, untrained: bool = False
) -> bool:
    """Whether the layers of a student have random weights at first: none are copied, or the teacher's own are random.

    Args:
        settings: The student's section of the recipe.
        teacher: The config of what the student is built from.
        task: Of the student.
        untrained: Whether the teacher's own weights are random.
    """
    if settings.init != "teacher":
        return settings.init == "random"
    if untrained:
        return True
    if task in WRITING:
        return starts_fresh(settings, teacher)
    return not _takes_layers(student_config(teacher, settings), teacher)


def _own(
    settings: BilstmStudent | StaticStudent, *, vectors: torch.Tensor, folder: Path, labels: LabelSpace
) -> OwnStudent:
    vocabulary, width = vectors.shape
    task, classes, pad_id = task_of(labels), len(labels.names), pad_id_of(folder)
    if isinstance(settings, StaticStudent):
        return Static(
            StaticConfig(
                vocab_size=vocabulary,
                embedding_size=settings.embedding_size or width,
                head_size=settings.head_size,
                num_labels=classes,
                pad_token_id=pad_id,
                head="vector" if task.ANSWERS == "vector" else "text",
                bigrams=settings.bigrams,
                dropout=settings.dropout,
                left_out=open_encoder(folder, max_length=ANY_LENGTH).encode("").ids if task.ANSWERS == "vector" else (),
            )
        )
    return Bilstm(
        BilstmConfig(
            vocab_size=vocabulary,
            embedding_size=settings.embedding_size or width,
            hidden_size=settings.hidden_size,
            num_layers=settings.layers,
            head_size=settings.head_size,
            head=task.LEVEL,
            num_labels=classes,
            pad_token_id=pad_id,
            dropout=settings.dropout,
        )
    )


def _transformer(settings: TransformerStudent, *, teacher: nn.Module, labels: LabelSpace) -> nn.Module:
    start = own_start(settings)
    if start is not None:
        return load_model(start, labels=labels, dropout=settings.dropout)
    if is_ours(teacher):
        kind, hint = KINDS[type(teacher)]
        raise RecipeError(f"student.architecture: transformer, but the teacher is {kind}", hint=f"choose {hint}")
    if writes(labels):
        return transformer_writer(settings, teacher=teacher, task=labels.task)
    teacher_config: Any = teacher.config
    config = student_config(teacher_config, settings)
    for key, value in label_fields(labels).items():
        setattr(config, key, value)
    student: nn.Module = auto_class(labels.task).from_config(config, attn_implementation="eager")
    if isinstance(teacher, Embedder):
        student = embedder(student, teacher.pooling)
    if settings.init == "random":
        return student
    if _takes_layers(config, teacher_config):
        layers = copied_layers(settings, teacher_depth=depth_of(teacher_config), student_depth=depth_of(config))
        progress.say(f"student layers start from the teacher's layers {', '.join(map(str, layers))}")
        copy_weights(student, teacher, layers)
    else:
        start_words(student, teacher)
    return student


def _started(student: OwnStudent, vectors: torch.Tensor) -> torch.Tensor:
    """The word vectors [V, E] that a student of ours begins with, by the teacher's."""
    found = reduced(vectors, student.sizes.embedding_size)
    if not isinstance(student, LstmSeq2Seq):
        return found
    # The head shares them: of the size that gives first logits of the order of 1.
    scaled: torch.Tensor = found * (found.shape[1] ** -0.5 / found.std().clamp(min=1e-6))
    return scaled


def _takes_layers(student: "PreTrainedConfig", teacher: "PreTrainedConfig") -> bool:
    # Whether a student of this config can start from such a teacher's layers: as wide, and within no wider.
    same = all(size(student) == size(teacher) for size in (width_of, heads_of))
    return same and inner_of(student) <= inner_of(teacher)
