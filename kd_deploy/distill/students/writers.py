"""Students that write, with their first weights: the teacher's family with fewer layers, and the LSTM pair."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kd_deploy import progress
from kd_deploy.distill.heads import auto_class
from kd_deploy.distill.students.depth import Depths, copied_writer, takes_layers, writer_config
from kd_deploy.distill.students.dropout import set_dropout
from kd_deploy.distill.students.first_words import start_words
from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq, LstmSeq2SeqConfig
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import LstmStudent, TransformerStudent

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ANY_LENGTH = 4  # of an encoder that is asked for its marks alone


def transformer_writer(settings: TransformerStudent, *, teacher: nn.Module, task: str) -> nn.Module:
    """A language model, or an encoder-decoder, of the teacher's family.

    Raises:
        RecipeError: Sizes that do not fit each other or the teacher.
    """
    teacher_config: Any = teacher.config
    config = writing_config(teacher_config, settings)
    student: nn.Module = auto_class(task).from_config(config, attn_implementation="eager")
    student.generation_config = teacher.generation_config
    if settings.init == "random":
        return student
    if not takes_layers(config, teacher_config):
        start_words(student, teacher)
        return student
    for part, layers in copied_writer(student, teacher).items():
        progress.say(f"student {part} layers start from the teacher's layers {', '.join(map(str, layers))}")
    return student


def writing_config(teacher: "PreTrainedConfig", settings: TransformerStudent) -> "PreTrainedConfig":
    """The teacher's config with the student's sizes.

    Raises:
        RecipeError: Sizes that do not fit each other or the teacher, or layers chosen by hand.
    """
    if settings.teacher_layers is not None:
        raise RecipeError(
            "student.teacher_layers: a student that writes starts from layers that are evenly spread",
            hint="leave teacher_layers out",
        )
    depths = Depths(
        encoder_layers=settings.encoder_layers,
        decoder_layers=settings.layers,
        hidden_size=settings.hidden_size,
        attention_heads=settings.attention_heads,
        intermediate_size=settings.intermediate_size,
    )
    config = writer_config(teacher, depths)
    set_dropout(config, settings.dropout)
    return config


def starts_fresh(settings: TransformerStudent, teacher: "PreTrainedConfig") -> bool:
    """Whether the student's layers start at random."""
    return settings.init == "random" or not takes_layers(writing_config(teacher, settings), teacher)


def lstm_writer(settings: LstmStudent, *, vectors: torch.Tensor, folder: Path) -> LstmSeq2Seq:
    """An LSTM encoder-decoder over the teacher's vocabulary.

    Args:
        settings: Sizes.
        vectors: The teacher's word vectors, [V, E].
        folder: The teacher's, whose tokenizer the student has; it says what a text begins and ends with.

    Raises:
        RecipeError: The teacher's tokens have no such marks.
    """
    encoder = open_encoder(folder, max_length=ANY_LENGTH)
    if not (encoder.marks.starts and encoder.marks.ends):
        raise RecipeError(
            f"{folder} does not say with which tokens a text begins and ends",
            hint="set decoder_start_token_id and eos_token_id in its config.json",
        )
    return LstmSeq2Seq(
        LstmSeq2SeqConfig(
            vocab_size=len(vectors),
            embedding_size=settings.embedding_size or vectors.shape[1],
            hidden_size=settings.hidden_size,
            encoder_layers=settings.encoder_layers,
            decoder_layers=settings.layers,
            pad_token_id=encoder.pad_id,
            decoder_start_token_id=encoder.marks.starts[0],
            forced_bos_token_id=next(iter(encoder.marks.starts[1:]), None),
            eos_token_id=encoder.marks.ends[0],
            dropout=settings.dropout,
            input_feeding=settings.input_feeding,
        )
    )
