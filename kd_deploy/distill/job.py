"""What every training of a recipe shares: its rows, where it works, how a model is trained and written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.bundling import write_bundle
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.teaching import Teaching
from kd_deploy.distill.trainer import train
from kd_deploy.files import sha256_file, sha256_text
from kd_deploy.machine import installed_versions
from kd_deploy.manifest import Lineage, TrainingRecord
from kd_deploy.recipe import Recipe, Training
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.text_classification import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every training of a recipe shares."""

    recipe: Recipe
    splits: Splits
    work: Path

    @property
    def max_length(self) -> int:
        """Tokens; longer inputs are cut."""
        return self.recipe.data.max_length

    @property
    def labels(self) -> LabelSpace:
        """The classes, in the order of the logits."""
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
        work = self.work / what.replace(" ", "-")
        metrics = train(
            model,
            objective=teaching.objective,
            data=teaching.data,
            validation=TrainingData(examples=self.splits.validation, encoder=teaching.data.encoder),
            settings=settings,
            work=work,
            description=what,
            live=teaching.live,
        )
        processes.wait()  # the last one may still be reading the best checkpoint
        shutil.rmtree(work, ignore_errors=True)
        return metrics

    def write(
        self,
        model: nn.Module,
        output: Path,
        *,
        tokenizer: Path,
        lineage: Lineage,
        metrics: dict[str, float],
        training: tuple[TrainingRecord, ...] = (),
    ) -> Bundle:
        """A trained model as a bundle."""
        return write_bundle(
            output,
            model,
            labels=self.labels,
            max_length=self.max_length,
            tokenizer_from=tokenizer,
            lineage=lineage,
            metrics=metrics,
            training=training,
        )
