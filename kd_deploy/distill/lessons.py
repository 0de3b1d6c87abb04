"""What a model is trained on, task by task: the rows of each, what to minimise there, and what it is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from kd_deploy.distill import processes
from kd_deploy.distill.balancing import Balanced, Share
from kd_deploy.distill.judging import chosen_by
from kd_deploy.distill.learner import Aim
from kd_deploy.distill.rows import Rows, TrainingData
from kd_deploy.distill.sampling import Batches
from kd_deploy.distill.signals import LiveTeacher
from kd_deploy.distill.terms import Objective
from kd_deploy.recipe import Training
from kd_deploy.tasks.registry import main_metric, names_tokens, task_of

MEAN = "mean"  # of the main metrics of all tasks
Scores = Mapping[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One task of a training: its objective, its rows, and those by which the best epoch is chosen.

    `live` is its teacher, where the signals do not come with the data; `columns` are its places among the model's
    logits, `weight` says how many batches it has for each of the largest task.
    """

    objective: Objective
    data: TrainingData
    validation: TrainingData
    live: LiveTeacher | None = None
    columns: slice = field(default_factory=lambda: slice(None))
    weight: float = 1.0

    @property
    def aim(self) -> Aim:
        """What the learner is to know of it."""
        labels = self.validation.examples.labels
        return Aim(
            objective=self.objective, level=task_of(labels).LEVEL, narrow=names_tokens(labels), columns=self.columns
        )

    @property
    def metric(self) -> str:
        """The task's main metric."""
        return main_metric(self.validation.examples)


def metric_of(model: nn.Module, lessons: Mapping[str, Lesson]) -> str:
    """What the best epoch is chosen by: the metric of its task, or the mean of those of several."""
    first, *others = lessons.values()
    return MEAN if others else chosen_by(model, first.validation)


def flattened(scores: Scores, lessons: Mapping[str, Lesson]) -> dict[str, float]:
    """The scores on validation as one mapping: those of several tasks as TASK_METRIC, and their mean."""
    if len(lessons) == 1:
        return next(iter(scores.values()))
    mains = [scores[name][lesson.metric] for name, lesson in lessons.items()]
    named = {f"{task}_{name}": value for task, one in scores.items() for name, value in one.items()}
    return {MEAN: sum(mains) / len(mains), **named}


def batches_of(lessons: Sequence[Lesson], rows: Sequence[Rows], settings: Training) -> Batches | Balanced:
    """The order in which the rows of all tasks are learned from."""
    if len(lessons) == 1:
        accumulation = settings.gradient_accumulation
        return _batches(rows[0], settings, accumulation=accumulation, together=processes.count())
    shares = [
        Share(batches=_batches(one, settings, accumulation=1, together=1), weight=lesson.weight)
        for one, lesson in zip(rows, lessons, strict=True)
    ]
    lengths = [one.lengths for one in rows]
    return Balanced(shares, rows=lengths, seed=settings.seed, accumulation=settings.gradient_accumulation)


def _batches(rows: Rows, settings: Training, *, accumulation: int, together: int) -> Batches:
    return Batches(
        rows.lengths,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        accumulation=accumulation,
        processes=together,
        seed=settings.seed,
    )
