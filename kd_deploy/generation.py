"""How a text is written token by token: what a recipe asks for, what a bundle remembers, what a caller may change."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from kd_deploy.errors import UsageError
from kd_deploy.numbers import Float, Int


class Generation(BaseModel):
    """The choice of each next token, and when to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_new_tokens: Annotated[Int, Field(ge=1)] = Field(64, description="Tokens that are written at most.")
    beams: Annotated[Int, Field(ge=1)] = Field(1, description="Texts that are followed side by side; 1: greedy.")
    length_penalty: Float = Field(
        1.0, description="Beams are compared by log-probability / length ** this: above 0 favours longer texts."
    )
    temperature: Annotated[Float, Field(ge=0)] = Field(0.0, description="0: the likeliest token; above: by chance.")
    top_k: Annotated[Int, Field(ge=0)] = Field(0, description="Chance among so many likeliest tokens; 0: all.")
    top_p: Annotated[Float, Field(gt=0, le=1)] = Field(
        1.0, description="Chance among the likeliest tokens that share this much probability."
    )
    repetition_penalty: Annotated[Float, Field(gt=0)] = Field(
        1.0, description="Above 1: tokens that are there already become less likely (Keskar et al. 2019)."
    )
    no_repeat_ngram: Annotated[Int, Field(ge=0)] = Field(0, description="No run of so many tokens comes twice; 0: any.")
    seed: Int = Field(0, description="Of the chance; each text has its own, whatever stands beside it.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Texts after which writing ends; they are not part of the answer."
    )

    @property
    def of_two_minds(self) -> bool:
        """Whether beams, which follow the likeliest texts, and chance are asked for at once."""
        return self.beams > 1 and self.temperature > 0

    def checked(self) -> Self:
        """These settings.

        Raises:
            UsageError: Beams and chance are asked for at once.
        """
        if self.of_two_minds:
            raise UsageError(
                f"{self.beams} beams follow the likeliest texts, temperature {self.temperature} draws by chance",
                hint="set beams to 1, or temperature to 0",
            )
        return self
