"""Where the rows of a recipe come from."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Tag, field_validator, model_validator

from kd_deploy.numbers import Float, Int
from kd_deploy.recipe.section import PositiveInt, Section, Seed, told_by

MOST_TOKENS = 10_000_000


class Unlabeled(Section):
    """Texts without labels in a column of their own name."""

    source: str = Field(description="As data.train.")
    column: str = Field("text", description="Where the texts are.")


UnlabeledSource = Annotated[
    Annotated[str, Tag("<plain>")] | Annotated[Unlabeled, Tag("<named>")],
    told_by(dict | Unlabeled, "<named>", "<plain>"),
]


ROUNDING = 1e-6
Share = Annotated[Float, Field(gt=0, lt=1)]


class TaskData(Section):
    """Where the rows of a task are, and what their columns are called."""

    train: str | None = Field(
        None, description="A .jsonl, .csv or .tsv file (or .gz of it), a .parquet file, a folder, a hub id."
    )
    train_limit: PositiveInt | None = Field(
        None,
        description="Most rows of train, before any are held back from it; more are drawn from at random. Left out: "
        "all.",
    )
    validation: str | None = Field(None, description="Left out: a tenth of train is held back.")
    test: str | None = Field(None, description="Read once, at the end. Left out: the report is on validation.")
    split: tuple[Share, Share, Share] | None = Field(
        None, description="Shares of train, validation and test, where one file holds all; drawn by the seed."
    )
    unlabeled: tuple[UnlabeledSource, ...] = Field(
        (),
        description="Texts without labels, for the student alone to learn from; or {source, column}, where the column "
        "has another name than elsewhere. Equal texts among them count once, those of validation and test not at all.",
    )
    unlabeled_as: Literal["texts", "sentences"] = Field(
        "texts", description="Whether each text without a label is learned from whole, or sentence by sentence."
    )
    unlabeled_limit: PositiveInt | None = Field(
        None, description="Most texts without labels; more are drawn from at random. Left out: all."
    )
    columns: dict[str, str] = Field({}, description="Task column: name in the file. Only where they differ.")
    seed: Seed = Field(0, description="Of the split that is held back, and of what is drawn.")

    @field_validator("unlabeled", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | dict) else value

    @model_validator(mode="after")
    def _of_texts_that_are_there(self) -> Self:
        for key in ("unlabeled_as", "unlabeled_limit"):
            if not self.unlabeled and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is about the texts of unlabeled, and there are none: leave it out")
        return self

    @model_validator(mode="after")
    def _split_once(self) -> Self:
        if self.split is None:
            return self
        if self.validation or self.test:
            raise ValueError("split makes validation and test of train: leave them out, or leave split out")
        if abs(sum(self.split) - 1) > ROUNDING:
            raise ValueError(f"split is {list(self.split)}, which is not 1 together")
        return self


class Data(TaskData):
    """The rows of the main task, and what holds for all."""

    max_length: Annotated[Int, Field(ge=4, le=MOST_TOKENS)] = Field(
        128, description="Tokens; longer inputs are cut, or read in overlapping pieces where the task is about tokens."
    )
