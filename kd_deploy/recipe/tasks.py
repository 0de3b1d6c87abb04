"""Further tasks of the same student, each with rows, classes and a teacher of its own."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from kd_deploy.recipe.data import TaskData
from kd_deploy.recipe.section import PositiveFloat, Section
from kd_deploy.recipe.teacher import Teacher

MAIN = "main"  # what the task of the recipe's own data and teacher is called


def _not_main(name: str) -> str:
    if name == MAIN:
        raise ValueError(f"{MAIN} is the task of the recipe's own data and teacher: choose another name")
    return name


FurtherName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_not_main)]


class FurtherTask(Section):
    """One more task of the same student."""

    data: TaskData
    teacher: Teacher
    weight: PositiveFloat = Field(
        1.0, description="Batches of it in an epoch, for each batch of the largest task; the main task has 1."
    )
