"""Where the teacher comes from: a checkpoint, several of them, or a training from nothing."""

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from kd_deploy.generation import Generation
from kd_deploy.numbers import Int
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.recipe.section import NotNegative, PositiveInt, Section, told_by
from kd_deploy.recipe.training import Training


class ScratchModel(Section):
    """A BERT-like encoder with random weights and a WordPiece vocabulary learned from the training texts."""

    layers: PositiveInt = 4
    hidden_size: PositiveInt = 256
    attention_heads: PositiveInt = 4
    vocabulary: Annotated[Int, Field(ge=100)] = 8000

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_size % self.attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of attention_heads {self.attention_heads}")
        return self


class OneTeacher(Section):
    """One of several teachers."""

    model: str = Field(description="A checkpoint folder, a bundle, or a hub id.")
    weight: NotNegative = 1.0


Models = Annotated[
    Annotated[str | None, Tag("<one>")]
    | Annotated[Annotated[tuple[OneTeacher, ...], Field(min_length=1)], Tag("<several>")],
    told_by(list | tuple, "<several>", "<one>"),
]


class Teacher(Section):
    """The model to learn from, or several.

    The first of several is the one that the student is built from and compared with; the others teach along
    with their answers alone, so that their sizes and vocabularies may be any.
    """

    model: Models = Field(
        None, description="A checkpoint folder, a bundle, a hub id; or a list of {model, weight}: several teachers."
    )
    fuse: Literal["weights", "confidence", "best_per_class"] = Field(
        "weights",
        description="Several teachers: by their weights; by their weights and how sure each is of a text; or for each "
        "class the one that tells it best on validation.",
    )
    scratch: ScratchModel | None = Field(None, description="Instead of model: train one from nothing.")
    finetune: Training | None = Field(None, description="Left out: the teacher is used as it is.")
    generation: Generation | None = Field(
        None, description="How it writes, for tasks that write. Left out: as the student does."
    )
    endpoint: Endpoint | None = Field(
        None,
        description="A teacher on a server. model or scratch then say what the student takes its tokenizer and its "
        "first weights from.",
    )

    @property
    def first(self) -> str | None:
        """The checkpoint that the student is built from and compared with; None for one from scratch."""
        return self.model[0].model if isinstance(self.model, tuple) else self.model

    @property
    def several(self) -> tuple[OneTeacher, ...]:
        """All teachers where there are several; else empty."""
        return self.model if isinstance(self.model, tuple) and len(self.model) > 1 else ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.scratch is None):
            raise ValueError("give either model or scratch")
        if self.endpoint and (self.finetune or self.several):
            raise ValueError("a teacher on an endpoint answers alone and as it is: leave finetune and other models out")
        if self.scratch and not (self.finetune or self.endpoint):
            raise ValueError("a teacher from scratch knows nothing yet: give finetune as well")
        if self.several and self.finetune:
            raise ValueError("several teachers are used as they are: fine-tune each by itself first")
        if self.several and not any(one.weight for one in self.several):
            raise ValueError("every teacher has weight 0")
        return self

    @model_validator(mode="after")
    def _weights_count(self) -> Self:
        given = next((one for one in self.several if one.weight != 1), None)
        if given and self.fuse == "best_per_class":
            raise ValueError(
                f"fuse: best_per_class goes by validation alone, and the weight {given.weight:g} of {given.model} "
                "counts for nothing: leave it out, or the teacher"
            )
        alone = self.model[0] if isinstance(self.model, tuple) and not self.several else None
        if alone and alone.weight != 1:
            raise ValueError(f"the weight {alone.weight:g} of {alone.model} counts for nothing beside no other teacher")
        if self.fuse != "weights" and not self.several:
            raise ValueError(f"fuse: {self.fuse} joins the answers of several teachers, and there is one: leave it out")
        return self
