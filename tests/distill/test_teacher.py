"""The teacher of a recipe, as it is: what is said of one that is worth no more than a guess."""

from dataclasses import replace
from pathlib import Path

import pytest

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
