"""The teacher of a recipe, as it is: what is said of one that is worth no more than a guess."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.job import Job
from kd_deploy.distill.teacher import make_teacher
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Recipe
from kd_deploy.tasks.splits import Splits
from tests import tiny
from tests.heard import Heard

ROWS = tiny.single_label(24, seed=1)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_teacher_no_better_than_the_commonest_class_is_named(checkpoint: Path, tmp_path: Path, swapped: bool) -> None:
    document = {
        "version": 1,
        "task": "text-classification",
        "data": {"max_length": tiny.MAX_LENGTH},
        "teacher": {"model": str(checkpoint)},
        "student": {"architecture": "bilstm"},
    }
    rows = replace(ROWS, targets=tuple((1 - one,) for (one,) in ROWS.targets)) if swapped else ROWS
    splits = Splits(train=rows, validation=rows, test=None)

    with reporting_to(heard := Heard()):
        make_teacher(Job(recipe=Recipe.of(document), splits=splits, work=tmp_path / "work"), tmp_path / "teacher")

    warnings = [one for one in heard.said if "no better than always saying the commonest class (0.5000)" in one]
    assert len(warnings) == swapped


def test_the_seed_decides_a_new_head_whatever_was_drawn_before(checkpoint: Path, tmp_path: Path) -> None:
    def head(name: str, *, seed: int) -> torch.Tensor:
        finetune = {"epochs": 1, "seed": seed, "learning_rate": 1e-12, "precision": "fp32"}
        document = {
            "version": 1,
            "task": "text-classification",
            "data": {"max_length": tiny.MAX_LENGTH},
            "teacher": {"model": str(checkpoint), "finetune": finetune},
            "student": {"architecture": "bilstm"},
        }
        rows = tiny.multi_label(24, seed=1)  # other classes than its own: a new head
        splits = Splits(train=rows, validation=rows, test=None)
        torch.rand(7)
        job = Job(recipe=Recipe.of(document), splits=splits, work=tmp_path / f"work-{name}")
        made = make_teacher(job, tmp_path / name)
        weight: torch.Tensor = load_model(made.path).classifier.weight  # type: ignore[union-attr, assignment]
        return weight

    first, again, other = head("first", seed=0), head("again", seed=0), head("other", seed=1)

    torch.testing.assert_close(first, again)
    assert (first - other).abs().max() > 1e-3
