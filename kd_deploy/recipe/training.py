"""How a model is trained, whatever it learns from."""

from typing import Literal

from pydantic import Field

from kd_deploy.recipe.section import Fraction, NotNegative, PositiveFloat, PositiveInt, Section, Seed


class Training(Section):
    """How a model is trained, whatever its objective."""

    epochs: PositiveInt = 3
    batch_size: PositiveInt = 64
    batch_tokens: PositiveInt | None = Field(
        None,
        description="Most tokens of a batch, padding included; longer texts then come in smaller batches. "
        "Left out: batch_size alone decides.",
    )
    learning_rate: PositiveFloat | None = Field(None, description="Left out: 5e-5, or 5e-4 for a teacher from scratch.")
    warmup: Fraction = Field(0.1, description="Share of the steps in which the learning rate rises.")
    weight_decay: NotNegative = 0.01
    gradient_accumulation: PositiveInt = 1
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it.")
    patience: PositiveInt | None = Field(
        None, description="Stop after so many epochs without a better one on validation. Left out: all epochs."
    )
    embeddings: Literal["train", "frozen", "sparse"] = Field(
        "train",
        description="The word vectors: trained; left as they are; or sparse: a step changes those of its own words "
        "alone, which is faster where the vocabulary is large.",
    )
    fgm: NotNegative = Field(0.0, description="Length of the worst step of the word vectors to learn against too.")
    r_drop: NotNegative = Field(0.0, description="Weight of the agreement between two passes under dropout.")
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    seed: Seed = 0
