"""The kinds and sizes of students."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from kd_deploy.numbers import Float, Int
from kd_deploy.recipe.section import PositiveInt, Section, told_by

Vocabulary = Annotated[
    Annotated[Literal["full", "auto"], Tag("<name>")] | Annotated[PositiveInt, Tag("<number>")],
    told_by(str, "<name>", "<number>"),
]


class AnyStudent(Section):
    """What every student has."""

    vocabulary: Vocabulary = Field(
        "full", description="Entries of the teacher's vocabulary to keep; auto: those that the training texts use."
    )


class TransformerStudent(AnyStudent):
    """The teacher's family with fewer layers, or with other widths."""

    architecture: Literal["transformer"] = "transformer"
    layers: PositiveInt | None = Field(
        None, description="Left out: half of the teacher's. Beside an encoder: those of the decoder."
    )
    encoder_layers: PositiveInt | None = Field(
        None, description="For text2text. Left out: as many as the teacher's (Shleifer and Rush 2020)."
    )
    hidden_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    intermediate_size: PositiveInt | None = Field(
        None,
        description="Left out: in the teacher's proportion to hidden_size. Smaller alone: its heaviest units stay.",
    )
    attention_heads: PositiveInt | None = Field(None, description="Left out: as wide as the teacher's.")
    dropout: Annotated[Float, Field(ge=0, lt=1)] | None = Field(None, description="Left out: the teacher's.")
    init: str = Field("teacher", description="teacher, random, or a checkpoint.")
    teacher_layers: tuple[Annotated[Int, Field(ge=0)], ...] | None = Field(
        None, description="Which teacher layers to copy, from 0. Left out: evenly spread, first and last among them."
    )


class BilstmStudent(AnyStudent):
    """Word vectors, a bidirectional LSTM, a small head (Tang et al. 2019)."""

    architecture: Literal["bilstm"]
    hidden_size: PositiveInt = Field(256, description="Of each direction.")
    layers: PositiveInt = 1
    embedding_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    head_size: PositiveInt = 256
    dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.3
    init: Literal["teacher", "random"] = Field("teacher", description="Where the word vectors start.")


class StaticStudent(AnyStudent):
    """Word vectors, their weighted mean and their maximum, a small head: no layer runs over the text."""

    architecture: Literal["static"]
    embedding_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    head_size: PositiveInt = 256
    dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.3
    bigrams: Annotated[Int, Field(ge=0)] = Field(
        0, description="Buckets for pairs of neighbouring tokens (Joulin et al. 2017); 0: the order does not count."
    )
    init: Literal["teacher", "random"] = Field("teacher", description="Where the word vectors start.")


class LstmStudent(AnyStudent):
    """An LSTM encoder in both directions, and an LSTM decoder that looks back at it (Luong et al. 2015)."""

    architecture: Literal["lstm"]
    hidden_size: PositiveInt = Field(256, description="Of the decoder, and of each direction of the encoder.")
    layers: PositiveInt = Field(1, description="Of the decoder.")
    encoder_layers: PositiveInt = 1
    embedding_size: PositiveInt | None = Field(None, description="Left out: the teacher's.")
    dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.3
    input_feeding: bool = Field(
        False, description="Whether the decoder is told at each token what it saw at the last: slower to train."
    )
    init: Literal["teacher", "random"] = Field("teacher", description="Where the word vectors start.")


Student = Annotated[
    TransformerStudent | BilstmStudent | StaticStudent | LstmStudent, Field(discriminator="architecture")
]


def start_of(student: Student) -> str | None:
    """The checkpoint that a student starts from; None for its teacher, or for random weights."""
    return None if student.init in ("teacher", "random") else student.init
