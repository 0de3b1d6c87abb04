"""What every section of a recipe shares: its rules, its numbers, and values that change during training."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """The rules of every section: frozen, and no key that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(Section):
    """A value that goes from `start` to `end` over the training."""

    start: NotNegative
    end: NotNegative
    shape: Literal["linear", "cosine"] = "linear"


class PositiveSchedule(Schedule):
    """A schedule that never touches 0."""

    start: PositiveFloat
    end: PositiveFloat


# The tags of unions stand in angle brackets: they are no part of a path that a user wrote.
def _kind(value: Any) -> str:
    return "<schedule>" if isinstance(value, dict | Schedule) else "<number>"


Weight = Annotated[
    Annotated[NotNegative, Tag("<number>")] | Annotated[Schedule, Tag("<schedule>")], Discriminator(_kind)
]
Temperature = Annotated[
    Annotated[PositiveFloat, Tag("<number>")] | Annotated[PositiveSchedule, Tag("<schedule>")], Discriminator(_kind)
]
