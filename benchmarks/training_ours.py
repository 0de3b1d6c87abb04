"""The same distillation by kd-deploy, or its student on labels alone.

`training_speed.py` runs it: `python training_ours.py JOB CACHE` (or `JOB labels`) prints one JSON line. The steps are
those of `kd_deploy.distill.student`, taken one by one so that the teacher's pass is timed apart.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from kd_deploy import progress
from kd_deploy.distill.check import teacher_labels
from kd_deploy.distill.checkpoints import find_model, load_model
from kd_deploy.distill.narrowed import Tokenizing
from kd_deploy.distill.precision import choose_format
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.teaching import Teaching, prepare, untaught
from kd_deploy.distill.trainer import train
from kd_deploy.recipe import Recipe
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import Splits, read_splits

T = TypeVar("T")
TRAINING = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds of the teacher's pass and of the training, and when each step of it ended."""

    teacher_s: float
    train_s: float
    step_ends_s: tuple[float, ...]
    computed: int
    reused: int
    number_format: str


class Clock:
    """A reporter that notes when the steps of the training end."""

    def __init__(self) -> None:
        """Nothing noted yet."""
        self.step_ends_s: list[float] = []

    def say(self, message: str) -> None:
        """Nothing."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yield the items; those of the training are noted as they are taken, at the end of a step each."""
        del total
        for item in items:
            if description == TRAINING:
                self.step_ends_s.append(time.perf_counter())
            yield item


def main() -> None:
    """Time it over the job's rows, after some steps over others with a cache of their own."""
    folder = Path(sys.argv[1])
    recipe = Recipe.of(json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
    taught = sys.argv[2] != "labels"
    with tempfile.TemporaryDirectory() as work:
        _run(recipe, folder / "warm_up.jsonl", taught=taught, cache=Path(work, "cache"), work=Path(work, "warm-up"))
        found = _run(recipe, folder / "train.jsonl", taught=taught, cache=Path(sys.argv[2]), work=Path(work, "timed"))
    print(json.dumps(asdict(found)))


def _run(recipe: Recipe, rows: Path, *, taught: bool, cache: Path, work: Path) -> Timed:
    assert recipe.teacher is not None
    os.environ["KD_DEPLOY_CACHE"] = str(cache)
    data, settings = recipe.data.model_copy(update={"train": str(rows)}), recipe.stages[0]
    splits = read_splits(data, task=TASKS[recipe.task], teacher=teacher_labels(recipe.teacher, recipe.task))
    folder = find_model(str(recipe.teacher.first))
    teacher = load_model(folder)
    student = build_student(
        recipe.student, teacher=teacher, teacher_folder=folder, labels=splits.labels, seed=settings.seed
    )
    clock, tokens = Clock(), Tokenizing(folder=folder)
    started = time.perf_counter()
    if taught:
        teaching = prepare(
            student,
            Teachers(model=teacher, folder=folder, max_length=data.max_length, labels=splits.labels),
            splits=splits,
            settings=settings,
            tokens=tokens,
        )
    else:
        teaching = untaught(splits, tokens, max_length=data.max_length)
    asked = time.perf_counter()
    with progress.reporting_to(clock):
        train(
            student,
            objective=teaching.objective,
            data=teaching.data,
            validation=_validation(splits, teaching),
            settings=settings,
            work=work,
            description=TRAINING,
            live=teaching.live,
        )
    ended = time.perf_counter()
    signals = teaching.data.signals
    return Timed(
        teacher_s=asked - started,
        train_s=ended - asked,
        step_ends_s=tuple(round(one - asked, 4) for one in clock.step_ends_s),
        computed=signals.computed if signals else 0,
        reused=signals.reused if signals else 0,
        number_format=choose_format(settings.precision, student),
    )


def _validation(splits: Splits, teaching: Teaching) -> TrainingData:
    return TrainingData(examples=splits.validation, encoder=teaching.data.encoder)


if __name__ == "__main__":
    main()
