"""What every side of training_speed.py reads: rows drawn from the training set, the recipe, the first student."""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from kd_deploy.distill.check import teacher_labels
from kd_deploy.distill.checkpoints import find_model, load_model, save_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.recipe import Recipe
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits

ROOT = Path(__file__).resolve().parent.parent
VALIDATION_ROWS = 64
WARM_UP_STEPS = 2


def write_job(work: Path, options: argparse.Namespace) -> Recipe:
    """Fill the folder that every side reads: rows, the student as it starts, the recipe; another for the others."""
    recipe = Recipe.load(options.recipe)
    assert recipe.teacher is not None
    teacher = (ROOT / str(recipe.teacher.first)).resolve()
    train, validation = (ROOT / str(path) for path in (recipe.data.train, recipe.data.validation))
    missing = [path for path in (teacher, train, validation) if not path.exists()]
    if missing:
        raise SystemExit(f"{missing[0].name} is not there: put the teacher and rows of {options.recipe.name} in place")
    others, rows = work / "others", _lines(train)
    others.mkdir()
    batch_size = recipe.stages[0].batch_size
    count = options.rows + WARM_UP_STEPS * batch_size
    _check_counts(options, batch_size, most=len(rows) - count + options.rows)
    drawn = [rows[row] for row in np.random.default_rng(options.seed).choice(len(rows), count, replace=False)]
    for folder, taken in ((work, options.rows), (others, options.rows_of_others)):
        (folder / "train.jsonl").write_text("".join(drawn[:taken]), encoding="utf-8")
        (folder / "warm_up.jsonl").write_text("".join(drawn[options.rows :]), encoding="utf-8")
    (work / "validation.jsonl").write_text("".join(_lines(validation)[:VALIDATION_ROWS]), encoding="utf-8")
    ours = _write_recipe(work, options, teacher=teacher)
    _write_recipe(others, options, teacher=teacher)
    _write_student(others / "student", ours)
    return ours


def _check_counts(options: argparse.Namespace, batch_size: int, *, most: int) -> None:
    if not 2 * batch_size <= options.rows <= most:
        raise SystemExit(f"--rows {options.rows}: choose from two batches of {batch_size} to {most}")
    if not 0 < options.rows_of_others <= options.rows:
        raise SystemExit(f"--rows-of-others {options.rows_of_others}: choose from 1 to --rows {options.rows}")


def _write_recipe(folder: Path, options: argparse.Namespace, *, teacher: Path) -> Recipe:
    overrides = (
        f"teacher.model={teacher}",
        f"data.train={folder / 'train.jsonl'}",
        f"data.validation={folder / 'validation.jsonl'}",
        "data.test=null",
        "student.vocabulary=full",
        f"distill.epochs={options.epochs}",
    )
    recipe = Recipe.load(options.recipe, overrides=overrides)
    (folder / "recipe.json").write_text(json.dumps(recipe.model_dump(mode="json")), encoding="utf-8")
    return recipe


def _write_student(folder: Path, recipe: Recipe) -> None:
    assert recipe.teacher is not None
    teacher = find_model(str(recipe.teacher.first))
    labels = read_splits(
        recipe.data, task=TASKS[recipe.task], teacher=teacher_labels(recipe.teacher, recipe.task)
    ).labels
    student = build_student(
        recipe.student, teacher=load_model(teacher), teacher_folder=teacher, labels=labels, seed=recipe.stages[0].seed
    )
    folder.mkdir()
    save_model(student, folder, labels=labels, max_length=recipe.data.max_length, tokenizer_from=teacher)


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(file)
