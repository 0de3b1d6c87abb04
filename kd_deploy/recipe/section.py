"""What every section of a recipe shares: its rules, its numbers, and values that change during training."""

from types import UnionType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from kd_deploy.numbers import Float, Int

Fraction = Annotated[Float, Field(ge=0, le=1)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NotNegative = Annotated[Float, Field(ge=0)]
Softness = Annotated[Float, Field(ge=0.01, le=100)]  # temperatures whose losses fp32 can hold
PositiveInt = Annotated[Int, Field(ge=1)]
Seed = Annotated[Int, Field(ge=0, lt=2**32)]  # what numpy's generators take


class Section(BaseModel):
    """The rules of every section: frozen, no key that nobody reads, and no number without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def told_by(kinds: type | UnionType, yes: str, no: str) -> Discriminator:
    """How the members of a union are told apart by what was written: `yes` for these kinds of value, else `no`.

    The tags of unions stand in angle brackets: they are no part of a path that a user wrote.
    """
    return Discriminator(lambda value: yes if isinstance(value, kinds) else no)


class Schedule(Section):
    """A value that goes from `start` to `end` over the training."""

    start: NotNegative
    end: NotNegative
    shape: Literal["linear", "cosine"] = "linear"

    @property
    def is_nothing(self) -> bool:
        """Whether it is 0 all the time."""
        return self.start == self.end == 0


class TemperatureSchedule(Schedule):
    """A temperature that goes from `start` to `end`."""

    start: Softness
    end: Softness


SCHEDULED = told_by(dict | Schedule, "<schedule>", "<number>")
Weight = Annotated[Annotated[NotNegative, Tag("<number>")] | Annotated[Schedule, Tag("<schedule>")], SCHEDULED]
Temperature = Annotated[
    Annotated[Softness, Tag("<number>")] | Annotated[TemperatureSchedule, Tag("<schedule>")], SCHEDULED
]
