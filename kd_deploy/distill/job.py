"""What every training of a recipe shares: its rows, where it works, how a model is trained and written."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from kd_deploy import progress
from kd_deploy.bundle import Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.bundling import Outcome, write_bundle
from kd_deploy.distill.conditional_mlm import FILLS, ConditionalMaskedLM
from kd_deploy.distill.lessons import Lesson
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.teaching import Teaching
from kd_deploy.distill.terms import MakeTerm
from kd_deploy.distill.trainer import train_together
from kd_deploy.files import sha256_file, sha256_text
from kd_deploy.generation import Generation
from kd_deploy.machine import installed_versions
from kd_deploy.manifest import Lineage
from kd_deploy.recipe import Recipe, Training
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.heads import MAIN, Head, lay_out
from kd_deploy.tasks.registry import writes
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.task import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every training of a recipe shares.

    `further` are the rows of its further tasks, by name; `logs` is where trackers that write files do so; `terms` are
    terms from Python, for the main task, besides those of the recipe.
    """

    recipe: Recipe
    splits: Splits
    work: Path
    logs: Path | None = None
    further: Mapping[str, Splits] = field(default_factory=dict)
    terms: Sequence[MakeTerm] = ()

    def of_task(self, name: str) -> "Job":
        """The job of a further task by itself, as its teacher needs it; the main task's is this one."""
        if name == MAIN:
            return self
        recipe, work = self.recipe.of_task(name), self.work / f"task-{name}"
        return Job(recipe=recipe, splits=self.further[name], work=work, logs=self.logs and self.logs / f"task-{name}")

    @property
    def heads(self) -> dict[str, Head]:
        """The tasks of the student, the main one first."""
        return lay_out(self.labels, {name: one.labels for name, one in self.further.items()})

    @property
    def max_length(self) -> int:
        """Tokens that are read at once."""
        return self.recipe.data.max_length

    @property
    def labels(self) -> LabelSpace:
        """The classes of the main task, in the order of the logits."""
        return self.splits.labels

    def lineage(self, *, teacher: Path | None, name: str | None, settings: Training, terms: tuple[str, ...]) -> Lineage:
        """Where a model of this job comes from."""
        return Lineage(
            teacher=name,
            teacher_sha256=sha256_file(teacher / "model.safetensors") if teacher else None,
            data_sha256=self.splits.train.sha256,
            recipe_sha256=sha256_text(self.recipe.to_yaml()),
            seed=settings.seed,
            objective=terms,
            versions=installed_versions(),
        )

    def train(self, model: nn.Module, teaching: Teaching, settings: Training, *, what: str) -> dict[str, float]:
        """Train a model in place, in a folder of its own, and give its scores on validation.

        Raises:
            TrainingError: Training cannot go on.
        """
        return self.train_together(model, {MAIN: teaching}, settings, what=what)[MAIN]

    def train_together(
        self, model: nn.Module, teachings: Mapping[str, Teaching], settings: Training, *, what: str
    ) -> dict[str, dict[str, float]]:
        """Train a model in place on one task or several, and give its scores on validation, task by task.

        Its checkpoints stay until the model is kept elsewhere: then `forget` removes them, or who made the job does.

        Raises:
            TrainingError: Training cannot go on.
        """
        lessons = {name: self._lesson(name, teaching) for name, teaching in teachings.items()}
        work, logs = self.folder(what), self.logs and self.logs / what.replace(" ", "-")
        metrics = train_together(model, lessons, settings=settings, work=work, logs=logs, description=what)
        for name, lesson in lessons.items() if len(lessons) > 1 else ():
            progress.say(f"{what}: {name}, validation {lesson.metric} {metrics[name][lesson.metric]:.4f}")
        return metrics

    def forget(self, what: str) -> None:
        """Remove the checkpoints of a training."""
        processes.wait()  # the last one may still be reading the best of them
        shutil.rmtree(self.folder(what), ignore_errors=True)

    def folder(self, what: str) -> Path:
        """Where a part of the work keeps what it may go on from."""
        return self.work / what.replace(" ", "-")

    def _lesson(self, name: str, teaching: Teaching) -> Lesson:
        return Lesson(
            objective=teaching.objective,
            data=teaching.data,
            validation=self.of_task(name).judged(encoder=teaching.data.encoder),
            live=teaching.live,
            columns=self.heads[name].columns,
            weight=1.0 if name == MAIN else self.recipe.tasks[name].weight,
        )

    def judged(self, *, encoder: Encoder) -> TrainingData:
        """The rows by which a model is judged while it is trained."""
        generation = self.recipe.generation
        return TrainingData(examples=self.splits.validation, encoder=encoder, generation=generation)

    def write(
        self,
        model: nn.Module,
        output: Path,
        *,
        tokenizer: Path,
        lineage: Lineage,
        outcome: Outcome,
        generation: Generation | None = None,
    ) -> Bundle:
        """A trained model as a bundle; it writes as it is told here, else as the recipe says."""
        labels = self.labels
        if isinstance(model, ConditionalMaskedLM):  # what others can use of it is the model that fills masks
            model, labels = model.model, FILLS
        return write_bundle(
            output,
            model,
            labels=labels,
            max_length=self.max_length,
            tokenizer_from=tokenizer,
            lineage=lineage,
            outcome=outcome,
            generation=(generation or self.recipe.generation) if writes(labels) else None,
        )
