"""Training a few added weights in place of all: LoRA and AdaLoRA."""

from typing import Annotated, Literal

from pydantic import Field

from kd_deploy.numbers import Float
from kd_deploy.recipe.section import PositiveFloat, PositiveInt, Section


class Adapter(Section):
    """Low-rank matrices beside a transformer's linear layers: they and the head are all that is trained."""

    method: Literal["lora", "adalora"] = Field(
        "lora", description="lora: the same rank everywhere; adalora: more where it helps more."
    )
    rank: PositiveInt = Field(8, description="Of each matrix; for adalora their mean, from 1.5 times as much.")
    alpha: PositiveFloat = Field(
        16.0, description="What the matrices add is multiplied by alpha over the rank that they start with."
    )
    dropout: Annotated[Float, Field(ge=0, lt=1)] = Field(0.0, description="Of what goes into the matrices.")
    targets: Literal["attention", "all"] = Field("all", description="Which linear layers get matrices.")
