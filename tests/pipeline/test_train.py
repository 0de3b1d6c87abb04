"""`kd-deploy distill` on its own: the teacher that it makes is kept, and made again where it was damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_deploy.bundle import Bundle
from kd_deploy.distill.terms import Seen, Term
from kd_deploy.errors import RecipeError, TrainingError, UsageError
from kd_deploy.pipeline import train
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Recipe
from tests import tiny
from tests.heard import Heard


class BrokenOffError(Exception):
    """Somebody pressed Ctrl-C."""


def recipe(folder: Path, checkpoint: Path) -> Recipe:
    rows = tiny.single_label(24, seed=1)
    lines = [
        json.dumps({"text": text, "label": rows.labels.names[target]})
        for text, (target,) in zip(rows.inputs, rows.targets, strict=True)
    ]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return Recipe.of(
        {
            "version": 1,
            "task": "text-classification",
            "data": {"train": str(folder / "train.jsonl"), "max_length": tiny.MAX_LENGTH},
            "teacher": {"model": str(checkpoint), "finetune": {"epochs": 1}},
            "student": {"architecture": "bilstm", "hidden_size": 8},
        }
    )


def test_nothing_that_is_read_is_written_over(
    checkpoint: Path, bert_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "models" / "teacher"
    shutil.copytree(bert_bundle.path, teacher)
    asked = recipe(tmp_path, teacher)
    monkeypatch.chdir(tmp_path)
    several = {"model": [{"model": str(checkpoint)}, {"model": "models/teacher"}]}
    start = {"architecture": "transformer", "init": "models/teacher"}

    for output in (teacher, Path("models") / "teacher", tmp_path / "models"):
        with pytest.raises(UsageError, match="would be written over, and the recipe reads the model"):
            train.require_apart(output, *train.models_of(asked))
    for changes in ({"teacher": several}, {"teacher": {"model": str(checkpoint)}, "student": start}):
        with pytest.raises(UsageError, match="reads the model models/teacher"):
            train.require_apart(teacher, *train.models_of(Recipe.of(asked.model_dump(exclude_none=True) | changes)))
    train.require_apart(teacher / "student", *train.models_of(asked))
    train.require_apart(Path("teacher"), *train.models_of(asked))  # also the word for where a student's weights start
    for command in (train.distill, train.finetune):
        with pytest.raises(UsageError, match="would be written over"):
            command(asked, teacher)


def test_a_term_from_python_teaches_beside_those_of_the_recipe(checkpoint: Path, tmp_path: Path) -> None:
    weights = {"distill": {"epochs": 1}, "teacher": {"model": str(checkpoint)}}
    asked = Recipe.of(recipe(tmp_path, checkpoint).model_dump(exclude_none=True) | weights)

    def pull(seen: Seen) -> torch.Tensor:
        return (seen.student["logits"].float() - 10 * seen.teacher["logits"].float()).square().mean()

    plain = train.distill(asked, tmp_path / "plain")
    mine = train.distill(asked, tmp_path / "mine", terms=[Term("pull", compute=pull, teacher=("logits",))])

    assert mine.manifest.lineage.objective == (*plain.manifest.lineage.objective, "pull")
    assert mine.manifest.files["model.safetensors"] != plain.manifest.files["model.safetensors"]
    for names, message in (
        ({"student": ("hidden.7",)}, "hidden.7, which a Bilstm"),
        ({"teacher": ("value.9",)}, "value.9"),
    ):
        with pytest.raises(RecipeError, match=f"the term pull looks at {message}"):
            train.distill(asked, tmp_path / "other", terms=[Term("pull", compute=pull, **names)])
    with pytest.raises(TrainingError, match=r"the term pull reads 'hidden\.0', which is not among what it looks at"):
        train.distill(asked, tmp_path / "other", terms=[Term("pull", compute=lambda seen: seen.teacher["hidden.0"])])
    assert not (tmp_path / "other").exists()


def test_a_kept_teacher_is_taken_up_and_a_damaged_one_made_again(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: Any, **__: Any) -> None:
        raise BrokenOffError

    monkeypatch.setattr(train, "distill_student", broken_off)
    asked, made = recipe(tmp_path, checkpoint), list[str]()
    plain = train.make_teacher
    monkeypatch.setattr(train, "make_teacher", lambda *given: made.append("") or plain(*given))

    def once() -> list[str]:
        with pytest.raises(BrokenOffError), reporting_to(heard := Heard()):
            train.distill(asked, tmp_path / "student")
        return [one for one in heard.said if one.startswith("teacher: made again")]

    assert (once(), len(made)) == ([], 1)
    assert (once(), len(made)) == ([], 1)
    (config,) = tmp_path.glob(".student.training/*/teacher.bundle/config.json")
    config.write_text("{}", encoding="utf-8")
    assert (len(once()), len(made)) == (1, 2)
    assert (once(), len(made)) == ([], 2)
