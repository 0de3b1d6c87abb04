"""A teacher's likeliest tokens, kept over epochs and runs: what is kept, that it is kept, and that it teaches alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.learner import TEACHER, Aim, Learner
from kd_deploy.distill.observe import shape_of
from kd_deploy.distill.rows import Collate, Rows, TrainingData
from kd_deploy.distill.signals import ENTRIES, LOGITS, LiveTeacher
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.top_signals import top_signals
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.pipeline.train import distill
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Distill, Recipe, SoftTargets
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits
from kd_deploy.tasks.task import NO_DECISION
from tests import tiny_writers
from tests.heard import Heard

COUNT = 6
AT_ONE = {"term": "soft_targets", "temperature": 1.0}


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.distill.top_signals.choose_format", lambda *_: "fp32")


@pytest.fixture(params=["gpt2", "bart"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_writers.ran(kind, tmp_path_factory.getbasetemp()) / "teacher"


@pytest.fixture
def teachers(kind: str, folder: Path, data: TrainingData) -> Teachers:
    return Teachers(
        model=load_model(folder), folder=folder, max_length=tiny_writers.LENGTH, labels=data.examples.labels
    )


@pytest.fixture
def data(kind: str, folder: Path, tmp_path: Path) -> TrainingData:
    recipe = Recipe.of(tiny_writers.document(kind, tmp_path / "rows"))
    examples = read_splits(recipe.data, task=TASKS[recipe.task]).train.some(range(20))
    return TrainingData(examples=examples, encoder=open_encoder(folder, max_length=tiny_writers.LENGTH))


def batch_of(data: TrainingData, model: torch.nn.Module) -> dict[str, Any]:
    rows = Rows(data)
    collate = Collate(data.encoder, sorted({"attention_mask", *input_names(model)}))
    return collate([rows[row] for row in (0, 3, 7, 12)])


def test_what_is_kept_is_what_a_live_teacher_holds_likeliest(data: TrainingData, teachers: Teachers) -> None:
    found = top_signals(data, teachers, count=COUNT, limit_gb=1)

    batch, live = batch_of(data, teachers.model), LiveTeacher(teachers.model, (LOGITS,), chosen="fp32")
    shares = live.signal(batch)[LOGITS].float().log_softmax(dim=-1)  # [B, T, V]
    for place, row in enumerate((0, 3, 7, 12)):
        decided = (batch["targets"][place] != NO_DECISION).numpy()
        kept = {name: found.rows[name][row] for name in (LOGITS, ENTRIES)}
        aims = decided[: len(kept[LOGITS])]
        wanted, _ = shares[place][decided].topk(COUNT)
        assert_close(torch.from_numpy(kept[LOGITS][aims, :COUNT].copy()).float(), wanted, atol=5e-3, rtol=5e-3)
        chosen = torch.from_numpy(kept[ENTRIES][aims].copy()).long()
        assert_close(shares[place][decided].gather(1, chosen), wanted, atol=1e-3, rtol=1e-3)
        np.testing.assert_allclose(np.exp(kept[LOGITS][aims].astype(np.float32)).sum(axis=1), 1, atol=5e-3)
        assert not kept[LOGITS][~aims].any()


def test_later_runs_ask_nothing_and_other_targets_are_asked_about(data: TrainingData, teachers: Teachers) -> None:
    first = top_signals(data, teachers, count=COUNT, limit_gb=1)
    again = top_signals(data, teachers, count=COUNT, limit_gb=1)
    wider = top_signals(data, teachers, count=COUNT + 1, limit_gb=1)

    assert (first.reused, again.computed) == (0, 0)
    assert first.computed == again.reused == wider.computed
    for name in (LOGITS, ENTRIES):
        for one, other in zip(first.rows[name], again.rows[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_kept_with_nearly_all_entries_it_teaches_as_a_live_teacher_does(
    kind: str, data: TrainingData, teachers: Teachers, folder: Path
) -> None:
    recipe = Recipe.of(tiny_writers.document(kind, folder.parent / "rows"))
    student = build_student(
        recipe.student, teacher=teachers.model, teacher_folder=folder, labels=data.examples.labels, seed=1
    ).eval()
    shapes = {"student": shape_of(student), "teacher": shape_of(teachers.model)}
    objective = build_objective([SoftTargets(**AT_ONE)], Ground(**shapes, level="token"))
    learner = Learner(student, [Aim(objective=objective, level="token", narrow=True)])
    signals = top_signals(data, teachers, count=10**6, limit_gb=1)
    kept = batch_of(TrainingData(examples=data.examples, encoder=data.encoder, signals=signals), student)
    alive = batch_of(data, student)
    live = LiveTeacher(teachers.model, (LOGITS,), chosen="fp32", narrow=True)
    alive |= {TEACHER + name: value for name, value in live.signal(alive).items()}

    found = []
    for batch in (kept, alive):
        loss = learner(batch)
        loss.backward()
        found.append((loss.detach(), {name: one.grad.clone() for name, one in student.named_parameters()}))
        student.zero_grad()

    assert found[1][0] > 1e-3
    assert_close(found[0][0], found[1][0], rtol=0.02, atol=1e-3)
    for name, value in found[1][1].items():
        assert_close(found[0][1][name], value, rtol=0.1, atol=0.02 * float(value.abs().max()) + 1e-5, msg=name)


def test_what_takes_too_much_room_is_refused_before_the_teacher_is_asked(
    data: TrainingData, teachers: Teachers
) -> None:
    with pytest.raises(RecipeError, match=rf"distill\.top_k {COUNT} takes .* GB for \d+ tokens"):
        top_signals(data, teachers, count=COUNT, limit_gb=0)


def test_a_student_learns_from_what_was_kept(kind: str, folder: Path, tmp_path: Path) -> None:
    settings = {"objective": [AT_ONE], "top_k": COUNT, "epochs": 2, "control": False, **tiny_writers.FAST}
    recipe = Recipe.of(tiny_writers.document(kind, tmp_path / "rows", teacher={"model": str(folder)}, distill=settings))

    with reporting_to(heard := Heard()):
        made = distill(recipe, tmp_path / "student")
        distill(recipe, tmp_path / "again")

    counts = [one for one in heard.said if one.startswith("teacher signals")]
    assert counts[0].endswith("computed, 0 from the cache")
    assert counts[1].startswith("teacher signals: 0 computed")
    assert made.manifest.metrics[tiny_writers.METRIC[kind]] > 0


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"objective": [{"term": "soft_targets"}]}, "has temperature 2"),
    "standardise": ({"objective": [AT_ONE | {"standardise": True}]}, "has standardise"),
    "logit_mse": ({"objective": [{"term": "logit_mse"}]}, "logit_mse needs more"),
    "hidden": ({"objective": [{"term": "hidden"}]}, "hidden needs more"),
    "on_policy": ({"objective": [AT_ONE], "on_policy": {}}, "on_policy asks about others"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_needs_more_than_is_kept_is_refused(fault: str) -> None:
    settings, message = FAULTS[fault]

    with pytest.raises(ValidationError, match=message):
        Distill.model_validate({"top_k": COUNT, **settings})


def test_a_task_without_a_vocabulary_to_answer_with_has_nothing_to_keep(tmp_path: Path) -> None:
    document = tiny_writers.document("gpt2", tmp_path)
    wrong = document | {"task": "fill-mask", "distill": {"objective": [AT_ONE], "top_k": COUNT}}

    with pytest.raises(RecipeError, match=r"distill\.top_k: it is for text2text and text-generation alone"):
        Recipe.of({key: value for key, value in wrong.items() if key not in ("generation", "export")})
