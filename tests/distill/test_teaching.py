"""A student before its teacher: signals kept and live teach alike, and layers find each other by likeness."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import normalizers
from torch import nn
from torch.testing import assert_close

from kd_deploy.distill import signals, trainer
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.learner import TEACHER, Aim, Learner
from kd_deploy.distill.likeness import layer_likeness
from kd_deploy.distill.narrowed import Tokenizing, tokenizing
from kd_deploy.distill.observe import shape_of
from kd_deploy.distill.rows import Collate, Rows, TrainingData
from kd_deploy.distill.signals import LiveTeacher, Signals
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.teachers import open_teachers
from kd_deploy.distill.teaching import Teaching, prepare
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.pipeline.train import finetune
from kd_deploy.recipe import BilstmStudent, Distill, StaticStudent, TransformerStudent
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import Splits, read_splits
from kd_deploy.tasks.task import Level
from tests import tiny, tiny_tasks

OF_TEXTS = [{"term": name} for name in ("distance_relations", "angle_relations", "similarity_matrix", "contrastive")]
OF_LAYERS = [
    *({"term": name} for name in ("hidden", "embedding", "attention_mse", "attention_kl", "relations")),
    {"term": "hidden", "distance": "cosine", "layers": "last", "focus": "hard"},
]
HALF = TransformerStudent(layers=2)
NARROW = TransformerStudent(layers=2, hidden_size=16, attention_heads=4)
SMALL = BilstmStudent(architecture="bilstm", hidden_size=16, head_size=16, dropout=0.0)
OVER_LAYERS: list[tuple[Any, dict[str, Any]]] = [
    *((HALF, term) for term in (*OF_LAYERS, {"term": "cls"}, *OF_TEXTS)),
    *((NARROW, term) for term in (*OF_LAYERS, *OF_TEXTS)),
    *((SMALL, term) for term in ({"term": "hidden", "layers": "top"}, {"term": "embedding"}, *OF_TEXTS)),
]
EXAMPLES = tiny.single_label(32, seed=3)
SPLITS = Splits(train=EXAMPLES, validation=EXAMPLES, test=None)


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "choose_format", lambda *_: "fp32")
    monkeypatch.setattr("kd_deploy.distill.teaching.choose_format", lambda *_: "fp32")


def student(checkpoint: Path, kind: Any) -> nn.Module:
    teacher = load_model(checkpoint)
    made = build_student(kind, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)
    return made.eval()


def taught(checkpoint: Path, model: nn.Module, objective: list[dict[str, Any]], **settings: Any) -> Teaching:
    torch.manual_seed(0)  # the projections start alike
    return prepare(
        model,
        tiny.teachers(checkpoint, tiny.SINGLE),
        splits=SPLITS,
        settings=Distill.model_validate({"objective": objective} | settings),
        tokens=Tokenizing(folder=checkpoint),
    )


def gradient(model: nn.Module, teaching: Teaching, *, level: Level = "text") -> torch.Tensor:
    data = teaching.data
    rows = Rows(data)
    names = {*input_names(model), *(teaching.live.inputs if teaching.live else ())}
    batch = Collate(data.encoder, sorted(names))([rows[row] for row in range(len(rows))])
    if teaching.live:
        batch |= {TEACHER + name: value for name, value in teaching.live.signal(batch).items()}
    model.zero_grad()
    Learner(model, [Aim(objective=teaching.objective, level=level)])(batch).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
@pytest.mark.parametrize(("kind", "term"), OVER_LAYERS, ids=lambda one: getattr(one, "architecture", None) or str(one))
def test_a_kept_and_a_live_teacher_give_the_same_gradient(
    checkpoint: Path, kind: Any, term: dict[str, Any], chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "choose_format", lambda *_: chosen)
    monkeypatch.setattr("kd_deploy.distill.teaching.choose_format", lambda *_: chosen)
    model = student(checkpoint, kind)
    kept, live = taught(checkpoint, model, [term]), taught(checkpoint, model, [term], cache_gb=0)

    assert kept.live is None
    assert live.live is not None
    assert live.data.signals is None or set(live.data.signals.rows) == {"logits"}
    close = {"fp32": 5e-3, "bf16": 5e-2}[chosen]  # in bf16 a text rounds by those beside it
    found, wanted = gradient(model, kept), gradient(model, live)
    assert wanted.norm() > 1e-5
    assert (found - wanted).norm() < close * wanted.norm()


def test_a_live_teacher_beside_another_vocabulary_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    work = tmp_path / "tokenizer"
    narrow = tokenizing("auto", checkpoint=checkpoint, texts=EXAMPLES.inputs, validation=["a text"], work=work)
    model = student(checkpoint, SMALL)

    with pytest.raises(RecipeError, match=r"distill.cache_gb 0 .* they must be kept"):
        prepare(
            model,
            tiny.teachers(checkpoint, tiny.SINGLE),
            splits=SPLITS,
            settings=Distill.model_validate({"objective": [{"term": "similarity_matrix"}], "cache_gb": 0}),
            tokens=narrow,
        )


@pytest.mark.parametrize("task", ["token-classification", "question-answering"])
@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
def test_kept_answers_about_tokens_teach_as_live_ones_do(
    task: str, chosen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "choose_format", lambda *_: chosen)
    recipe = tiny_tasks.recipe_of(task, "transformer", tmp_path)
    teacher = finetune(recipe, tmp_path / "teacher")
    splits = read_splits(recipe.data, task=TASKS[task])
    teachers = open_teachers(None, teacher, validation=splits.validation, max_length=recipe.data.max_length)
    model = build_student(
        TransformerStudent(layers=1), teacher=teachers.model, teacher_folder=teacher.path, labels=splits.labels, seed=0
    ).eval()

    kept = prepare(
        model,
        teachers,
        splits=splits,
        settings=Distill.model_validate({"objective": [{"term": "soft_targets"}]}),
        tokens=Tokenizing(folder=teacher.path),
    )
    live = replace(
        kept,
        data=replace(kept.data, signals=None),
        live=LiveTeacher(teachers.model, ["logits"], chosen=chosen),
    )

    assert kept.data.signals is not None
    level = TASKS[task].LEVEL
    close = {"fp32": 2e-3, "bf16": 5e-2}[chosen]  # in bf16 a text rounds by those beside it
    found, wanted = gradient(model, kept, level=level), gradient(model, live, level=level)
    assert wanted.norm() > 1e-3
    assert (found - wanted).norm() < close * wanted.norm()


def test_the_same_layers_are_alike(checkpoint: Path) -> None:
    teacher = load_model(checkpoint)
    encoder = open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)

    matrix = layer_likeness(teacher, teacher, encoders=(encoder, encoder), inputs=EXAMPLES.inputs, seed=0)

    assert matrix.shape == (4, 4)
    np.testing.assert_allclose(np.diag(matrix), 1.0, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


def test_auto_finds_the_layers_that_were_copied(checkpoint: Path) -> None:
    model = student(checkpoint, TransformerStudent(layers=2, teacher_layers=(0, 1)))

    teaching = taught(checkpoint, model, [{"term": "hidden", "layers": "auto"}])

    assert teaching.layer_map == ((0, 0), (1, 1))
    assert teaching.likeness is not None
    assert np.shape(teaching.likeness) == (2, 4)
    assert teaching.objective.teacher_names == ("hidden.0", "hidden.1")


def test_a_student_without_layers_is_not_compared_layer_by_layer(checkpoint: Path) -> None:
    model = student(checkpoint, StaticStudent(architecture="static"))

    with pytest.raises(RecipeError, match="the term hidden compares layers, and a Static has none"):
        taught(checkpoint, model, [{"term": "hidden", "layers": "auto"}])


def reading(checkpoint: Path, word: str, *, instead: str) -> Encoder:
    """An encoder that gives as many tokens for a text as the checkpoint's, and another one for a word."""
    encoder = open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    usual = encoder.tokenizer.normalizer
    encoder.tokenizer.normalizer = normalizers.Sequence([usual, normalizers.Replace(instead, word)])
    return encoder


def test_layers_are_compared_where_the_tokens_are_the_same(checkpoint: Path) -> None:
    teacher, own = load_model(checkpoint), open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    other = reading(checkpoint, "film", instead="town")
    kept = [text for text in EXAMPLES.inputs if "town" not in str(text).split()]

    found = layer_likeness(teacher, teacher, encoders=(other, own), inputs=EXAMPLES.inputs, seed=0)

    assert 0 < len(kept) < len(EXAMPLES.inputs)
    np.testing.assert_allclose(found, layer_likeness(teacher, teacher, encoders=(own, own), inputs=kept, seed=0))


def test_layers_without_a_common_text_are_not_compared(checkpoint: Path) -> None:
    teacher, own = load_model(checkpoint), open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    other = reading(checkpoint, "film", instead="town")

    with pytest.raises(RecipeError, match="layers: auto compares token by token") as caught:
        layer_likeness(teacher, teacher, encoders=(other, own), inputs=["the town", "a town"], seed=0)
    assert "uniform" in caught.value.hint


@pytest.mark.parametrize("cache_gb", [8, 0])
def test_a_student_learns_from_layers_alone(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_gb: float
) -> None:
    counted = itertools.count(1)  # every epoch is the best so far
    monkeypatch.setattr(trainer, "evaluate_model", lambda *_, **__: {"accuracy": float(next(counted))})
    model = student(checkpoint, NARROW)
    teaching = taught(checkpoint, model, [{"term": "hidden", "layers": "top"}], cache_gb=cache_gb)
    data = teaching.data

    def distance() -> float:
        model.eval()
        batch = Collate(data.encoder, input_names(load_model(checkpoint)))([Rows(data)[row] for row in range(32)])
        if teaching.live:
            batch |= {TEACHER + name: value for name, value in teaching.live.signal(batch).items()}
        return float(Learner(model, teaching.objective)(batch).item())

    before = distance()
    trainer.train(
        model,
        objective=teaching.objective,
        data=data,
        validation=data,
        settings=tiny.SETTINGS.model_copy(update={"epochs": 6, "learning_rate": 1e-2}),
        work=tmp_path / "work",
        description="student",
        live=teaching.live,
    )

    assert distance() < 0.7 * before


def test_the_seed_says_how_projections_start(checkpoint: Path) -> None:
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        model, settings = student(checkpoint, NARROW), Distill.model_validate({"objective": [{"term": "hidden"}]})
        teachers, tokens = tiny.teachers(checkpoint, tiny.SINGLE), Tokenizing(folder=checkpoint)
        torch.manual_seed(before)
        made = prepare(model, teachers, splits=SPLITS, settings=settings, tokens=tokens)
        found.append([value.detach().clone() for value in made.objective.parameters()])

    assert found[0]
    assert_close(found[0], found[1])


@pytest.mark.parametrize("term", ["similarity_matrix", "distance_relations", "cls"])
def test_states_of_a_teacher_with_other_tokens_are_pooled_by_its_own(checkpoint: Path, term: str) -> None:
    model = student(checkpoint, HALF)
    rng, lengths = np.random.default_rng(0), (3, 9, 5, 7)
    states = [rng.normal(size=(length, tiny.SIZES.hidden_size)).astype(np.float32) for length in lengths]
    top = f"hidden.{tiny.SIZES.layers - 1}"
    signals = dict.fromkeys(["hidden.1" if term == "cls" else top], states)
    encoder = open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    data = TrainingData(
        examples=EXAMPLES.some(range(4)), encoder=encoder, signals=Signals(rows=signals, computed=4, reused=0)
    )
    batch = Collate(encoder, input_names(model))(list(Rows(data)))
    ground = Ground(student=shape_of(model), teacher=shape_of(load_model(checkpoint)))
    objective = build_objective(Distill.model_validate({"objective": [{"term": term}]}).objective, ground)
    seen = Learner(model, objective)._seen(batch, 0)

    assert seen.masks[1].sum(dim=1).tolist() == list(lengths)
    widened = {name: F.pad(value, (0, 0, 0, 4), value=9.0) for name, value in seen.teacher.items()}
    wide = replace(seen, teacher=widened, teacher_mask=F.pad(seen.masks[1], (0, 4)))
    assert_close(objective(seen), objective(wide))
    assert objective(seen) > 0
