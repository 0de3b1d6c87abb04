"""The whole recipe: read from YAML, checked at once, every fault with its path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from kd_deploy.errors import RecipeError
from kd_deploy.generation import Generation
from kd_deploy.manifest import TaskName
from kd_deploy.numbers import no_switch
from kd_deploy.recipe.data import Data
from kd_deploy.recipe.distill import Distill, Stages
from kd_deploy.recipe.faults import describe_faults, place_of
from kd_deploy.recipe.fitting import WITHOUT_LABELS, unfit, with_objective
from kd_deploy.recipe.outcome import Benchmark, Export, ReportOptions
from kd_deploy.recipe.section import Section
from kd_deploy.recipe.student import Student, TransformerStudent
from kd_deploy.recipe.tasks import FurtherName, FurtherTask
from kd_deploy.recipe.teacher import Teacher
from kd_deploy.recipe.text import override_key, parse, read_text


class Recipe(Section):
    """One whole job, from data and teacher to report."""

    version: Annotated[Literal[1], BeforeValidator(no_switch)]
    task: TaskName
    data: Data = Data()
    teacher: Teacher | None = None
    tasks: dict[FurtherName, FurtherTask] = Field(
        {}, description="Further tasks of the same student, by name: {data, teacher, weight} each."
    )
    student: Student = TransformerStudent()
    distill: Stages = Field(Distill(), description="One stage, or a list of stages that follow each other.")
    export: Export = Export()
    benchmark: Benchmark = Benchmark()
    generation: Generation = Field(Generation(), description="How texts are written, for tasks that write.")
    report: ReportOptions = ReportOptions()

    @property
    def stages(self) -> tuple[Distill, ...]:
        """How the student learns, stage after stage."""
        return self.distill if isinstance(self.distill, tuple) else (self.distill,)

    @property
    def untrained(self) -> bool:
        """Whether the model that a student is built from has random weights: the one that knows is on a server."""
        teacher = self.teacher
        return teacher is not None and teacher.scratch is not None and teacher.endpoint is not None

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        # A section whose keys are all commented out is one that was left out.
        found = {key: value for key, value in document.items() if value is not None}
        if isinstance(student := found.get("student"), dict):
            found["student"] = {"architecture": "transformer"} | student
        return with_objective(found)

    @model_validator(mode="after")
    def _all_teachers_are_asked(self) -> Self:
        if self.tasks and any(stage.active for stage in self.stages):
            raise ValueError("distill.active chooses what to ask one teacher: leave it out, or leave tasks out")
        return self

    @property
    def control(self) -> bool:
        """Whether the same student is to be trained on labels alone as well."""
        return self.task not in WITHOUT_LABELS and all(stage.control for stage in self.stages)

    def of_task(self, name: str) -> Self:
        """The recipe of a further task by itself: its rows and its teacher in place of the main task's."""
        task = self.tasks[name]
        data = Data(**task.data.model_dump(), max_length=self.data.max_length)
        return self.model_copy(update={"data": data, "teacher": task.teacher, "tasks": {}})

    @classmethod
    def load(cls, path: Path, *, overrides: tuple[str, ...] = ()) -> Self:
        """The recipe in a YAML file, with `a.b=value` overrides applied before it is checked.

        Raises:
            RecipeError: The file cannot be read, is not YAML, or has faults; all of them are listed.
        """
        text = read_text(path)
        document = parse(text, source=str(path))
        for override in overrides:
            override_key(document, override)
        return cls.of(document, source=str(path), text=text, overrides=overrides)

    @classmethod
    def of(
        cls, document: dict[str, Any], *, source: str = "recipe", text: str = "", overrides: Sequence[str] = ()
    ) -> Self:
        """The recipe in a dictionary.

        Raises:
            RecipeError: With every fault and its path.
        """
        try:
            recipe = cls.model_validate(document)
        except ValidationError as error:
            raise _refusal(source, describe_faults(error, model=cls, text=text, overrides=overrides)) from error
        faults = [f"{place_of(path, text, overrides)}: {why}" for path, why in unfit(recipe)]
        if faults:
            raise _refusal(source, faults)
        return recipe

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _refusal(source: str, faults: Sequence[str]) -> RecipeError:
    joined, count = "\n  ".join(faults), "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return RecipeError(
        f"{source} has {count}:\n  {joined}", hint="kd-deploy run --schema prints every key and its type"
    )
