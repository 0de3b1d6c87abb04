"""`kd-deploy distill` on its own: the teacher that it makes is kept, and made again where it was damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_deploy.bundle import Bundle
from kd_deploy.distill.terms import Ground, Seen, Term
from kd_deploy.errors import RecipeError, TrainingError, UsageError
from kd_deploy.pipeline import train
from kd_deploy.pipeline.sources import models_of
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Recipe
from tests import tiny
from tests.heard import Heard


class BrokenOffError(Exception):
    """Somebody pressed Ctrl-C."""


SOFT = [{"term": "soft_targets"}]


def recipe(folder: Path, checkpoint: Path, settings: dict[str, Any] | None = None) -> Recipe:
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
            "distill": settings or {},
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
            train.require_apart(output, *models_of(asked).values())
    for changes in ({"teacher": several}, {"teacher": {"model": str(checkpoint)}, "student": start}):
        with pytest.raises(UsageError, match="reads the model models/teacher"):
            train.require_apart(teacher, *models_of(Recipe.of(asked.model_dump(exclude_none=True) | changes)).values())
    train.require_apart(teacher / "student", *models_of(asked).values())
    # "teacher" is also the word for where a student's weights start.
    train.require_apart(Path("teacher"), *models_of(asked).values())
    for command in (train.distill, train.finetune):
        with pytest.raises(UsageError, match="would be written over"):
            command(asked, teacher)


def test_a_term_from_python_teaches_beside_those_of_the_recipe(checkpoint: Path, tmp_path: Path) -> None:
    asked = recipe(tmp_path, checkpoint, {"objective": SOFT, "epochs": 1})
    widths: list[int] = []

    def pull(ground: Ground) -> Term:
        to_teacher = torch.nn.Linear(ground.student.width, ground.teacher.width)
        widths.append(ground.teacher.width)

        def compute(seen: Seen) -> torch.Tensor:
            ours, theirs = seen.student["hidden.0"], seen.teacher["hidden.1"]
            return (to_teacher(ours.float()) - theirs.float()).square()[seen.mask.bool()].mean()

        return Term("pull", compute=compute, student=("hidden.0",), teacher=("hidden.1",), learned=to_teacher)

    plain = train.distill(asked, tmp_path / "plain")
    mine = [train.distill(asked, tmp_path / name, terms=[pull]) for name in ("mine", "again")]
    weights = [one.manifest.files["model.safetensors"].sha256 for one in (plain, *mine)]

    assert mine[0].manifest.lineage.objective == (*plain.manifest.lineage.objective, "pull")
    assert weights[0] != weights[1] == weights[2]
    assert set(widths) == {tiny.SIZES.hidden_size}


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ({"student": ("hidden.7",)}, "the term pull looks at hidden.7, which a Bilstm does not show"),
        ({"student": ("value.0",)}, "the term pull looks at value.0, which a Bilstm does not show"),
        ({"teacher": ("value.9",)}, "the term pull looks at value.9, which a bert does not show"),
    ],
)
def test_a_term_from_python_that_sees_nothing_is_refused(
    checkpoint: Path, tmp_path: Path, looks: dict[str, Any], message: str
) -> None:
    asked = recipe(tmp_path, checkpoint, {"objective": SOFT, "epochs": 1})

    with pytest.raises(RecipeError) as refused:
        train.distill(asked, tmp_path / "student", terms=[lambda _: Term("pull", compute=nothing, **looks)])

    assert str(refused.value) == message
    assert not (tmp_path / "student").exists()


def nothing(seen: Seen) -> torch.Tensor:
    return seen.teacher["hidden.0"].mean() * 0


def test_a_term_from_python_that_reads_what_it_did_not_ask_for_is_told(checkpoint: Path, tmp_path: Path) -> None:
    def term(_: Ground) -> Term:
        return Term("pull", compute=nothing, teacher=("logits",))

    with pytest.raises(TrainingError, match=r"the term pull reads 'hidden\.0', which is not among what it looks at"):
        train.distill(recipe(tmp_path, checkpoint, {"epochs": 1}), tmp_path / "student", terms=[term])


def test_a_term_from_python_is_one_number_with_a_weight(checkpoint: Path, tmp_path: Path) -> None:
    def term(_: Ground) -> Term:
        return Term("pull", compute=lambda seen: seen.student["logits"].mean(dim=1))

    with pytest.raises(TrainingError, match="the term pull has the weight -1"):
        Term("pull", compute=nothing, weight=-1)
    with pytest.raises(TrainingError, match=r"the term pull gives \[\d+\] numbers for a batch, and a loss is one"):
        train.distill(recipe(tmp_path, checkpoint, {"epochs": 1}), tmp_path / "student", terms=[term])


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"active": {"budget": 8, "rounds": 1}}, "active"), ({"samples": {"min_confidence": 0.9}}, "samples")],
)
def test_a_term_from_python_is_refused_where_answers_are_left_out(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], key: str
) -> None:
    asked = recipe(tmp_path, checkpoint, {"epochs": 1} | settings)

    with pytest.raises(RecipeError, match=rf"distill\.{key} leaves the teacher's answers out"):
        train.distill(asked, tmp_path / "student", terms=[lambda _: Term("pull", compute=nothing)])


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
