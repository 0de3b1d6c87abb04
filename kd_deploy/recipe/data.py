"""Where the rows of a recipe come from."""

from typing import Annotated

from pydantic import Field

from kd_deploy.recipe.section import Section


class Data(Section):
    """Where the rows are, and what their columns are called."""

    train: str | None = Field(
        None, description="A .jsonl, .csv, .tsv or .parquet file (or .gz of it), a folder, a hub id."
    )
    validation: str | None = Field(None, description="Left out: a tenth of train is held back.")
    test: str | None = Field(None, description="Read once, at the end. Left out: the report is on validation.")
    unlabeled: tuple[str, ...] = Field((), description="Texts without labels, for the student alone to learn from.")
    columns: dict[str, str] = Field({}, description="Task column: name in the file. Only where they differ.")
    max_length: Annotated[int, Field(ge=4)] = Field(128, description="Tokens; longer inputs are cut.")
    seed: int = Field(0, description="Of the split that is held back.")
