"""Further tasks of the same student, each with rows, classes and a teacher of its own."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from kd_deploy.recipe.data import TaskData
from kd_deploy.recipe.section import PositiveFloat, Section
from kd_deploy.recipe.teacher import Teacher

MAIN = "main"  # what the task of the recipe's own data and teacher is called


def _name(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError("the name of a task has small letters, digits and underscores, and begins with a letter")
    if name == MAIN:
        raise ValueError(f"{MAIN} is the task of the recipe's own data and teacher: choose another name")
    return name


FurtherName = Annotated[str, AfterValidator(_name)]


class FurtherTask(Section):
    """One more task of the same student."""

    data: TaskData
    teacher: Teacher
    weight: PositiveFloat = Field(
        1.0, description="Batches of it in an epoch, for each batch of the largest task; the main task has 1."
    )
