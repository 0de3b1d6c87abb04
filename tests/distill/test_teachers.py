"""Several teachers: fused as they are heard, whatever their sizes, vocabularies and order of classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.teachers import class_f1, open_teachers
from kd_deploy.distill.torch_runner import TorchRunner, open_encoder
from kd_deploy.errors import DataError
from kd_deploy.pipeline.train import finetune
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Teacher
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits
from tests import tiny, tiny_tasks
from tests.heard import Heard

TEXTS = ("a great film", "we saw a dull story", "weak")
ROWS = tiny.single_label(32, seed=5)


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.distill.signals.choose_format", lambda *_: "fp32")


def opened(first: Bundle, *others: Path, fuse: str = "weights") -> Any:
    weight = 1.0 if fuse == "best_per_class" else 3.0
    names = [{"model": str(first.path)}, *({"model": str(one), "weight": weight} for one in others)]
    section = Teacher.model_validate({"model": names, "fuse": fuse})
    return open_teachers(section, first, validation=ROWS, max_length=tiny.MAX_LENGTH)


def probabilities(folder: Path) -> np.ndarray:
    encoder = open_encoder(folder, max_length=tiny.MAX_LENGTH)
    runner = TorchRunner(load_model(folder))
    logits = [
        runner.run(encoder.collate([encoder.encode(text)], input_names=runner.input_names))["logits"] for text in TEXTS
    ]
    return torch.from_numpy(np.concatenate(logits)).softmax(dim=-1).numpy()


def test_a_transformer_and_a_bilstm_answer_together(bert_bundle: Bundle, bilstm_bundle: Bundle) -> None:
    teachers = opened(bert_bundle, bilstm_bundle.path)

    signals = teachers.signals(TEXTS, names=("logits", "hidden.0"))

    expected = 0.25 * probabilities(bert_bundle.path) + 0.75 * probabilities(bilstm_bundle.path)
    np.testing.assert_allclose(np.exp(signals.logits), expected, atol=1e-5)
    assert set(signals.rows) == {"logits", "hidden.0"}
    assert (signals.computed, signals.reused) == (len(TEXTS), 0)
    assert teachers.signals(TEXTS, names=("logits",)).reused == len(TEXTS)


def test_teachers_of_other_vocabularies_answer_together(bert_bundle: Bundle, tmp_path: Path) -> None:
    other = tiny.write_checkpoint(tmp_path / "other", tiny.single_label(8, seed=9), trained=False)
    entries = [open_encoder(one, max_length=16).tokenizer.get_vocab() for one in (bert_bundle.path, other)]
    assert entries[0] != entries[1]

    signals = opened(bert_bundle, other).signals(TEXTS, names=("logits",))

    expected = 0.25 * probabilities(bert_bundle.path) + 0.75 * probabilities(other)
    np.testing.assert_allclose(np.exp(signals.logits), expected, atol=1e-5)


def test_classes_in_another_order_are_put_in_ours(bert_bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    turned: Any = load_model(checkpoint)
    with torch.no_grad():
        for weight in (turned.classifier.weight, turned.classifier.bias):
            weight.copy_(weight.flip(0))
    turned.config.id2label = {0: "good", 1: "bad"}
    other = shutil.copytree(checkpoint, tmp_path / "turned")
    turned.save_pretrained(other)

    signals = opened(bert_bundle, other).signals(TEXTS, names=("logits",))

    np.testing.assert_allclose(np.exp(signals.logits), probabilities(bert_bundle.path), atol=1e-5)


def test_what_each_is_worth_on_validation_is_recorded(bert_bundle: Bundle, bilstm_bundle: Bundle) -> None:
    record = opened(bert_bundle, bilstm_bundle.path, fuse="best_per_class").record

    assert [one.name for one in record] == [
        str(bert_bundle.path),
        str(bilstm_bundle.path),
        "all, fused by best_per_class",
    ]
    assert all(0.5 < one.score <= 1 for one in record)


def test_one_teacher_answers_as_itself(bert_bundle: Bundle) -> None:
    alone = open_teachers(None, bert_bundle, validation=ROWS, max_length=tiny.MAX_LENGTH)

    p = torch.from_numpy(alone.signals(TEXTS, names=("logits",)).logits).softmax(dim=-1)

    assert alone.record == ()
    np.testing.assert_allclose(p, probabilities(bert_bundle.path), atol=1e-5)


def test_teachers_of_other_classes_are_refused(bert_bundle: Bundle, tmp_path: Path) -> None:
    other = tiny.write_checkpoint(tmp_path / "other", tiny.paired(16, seed=0), trained=False)

    with pytest.raises(DataError, match=r"has the classes \['other', 'same'\], the data \['bad', 'good'\]"):
        opened(bert_bundle, other)


def test_a_second_teacher_of_tokens_is_none_for_texts(bert_bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    tagger = shutil.copytree(checkpoint, tmp_path / "tagger")
    config = json.loads((tagger / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForTokenClassification"]
    (tagger / "config.json").write_text(json.dumps(config), encoding="utf-8")

    with pytest.raises(DataError, match="has no head for text-classification"):
        opened(bert_bundle, tagger)


def test_f1_of_each_class_by_hand() -> None:
    scores = class_f1([(0,), (0,), (1,)], [(0,), (1,), (1,)], count=3)

    np.testing.assert_allclose(scores, [2 / 3, 2 / 3, 0])


def test_two_that_score_pairs_teach_their_weighted_mean(tmp_path: Path) -> None:
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        recipe = tiny_tasks.recipe_of("sentence-similarity", "transformer", folder)
        assert recipe.teacher is not None
        assert recipe.teacher.finetune is not None
        seeded = recipe.teacher.model_copy(
            update={"finetune": recipe.teacher.finetune.model_copy(update={"seed": number})}
        )
        made.append(finetune(recipe.model_copy(update={"teacher": seeded}), folder / "teacher"))
    splits = read_splits(recipe.data, task=TASKS["sentence-similarity"])
    pairs = splits.train.inputs[:5]
    named = [{"model": str(one.path), "weight": weight} for one, weight in zip(made, (1.0, 3.0), strict=True)]
    section = Teacher.model_validate({"model": named})

    both = open_teachers(section, made[0], validation=splits.validation, max_length=16)

    alone = [
        open_teachers(None, one, validation=splits.validation, max_length=16).signals(pairs, names=("logits",)).logits
        for one in made
    ]
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    found = both.signals(pairs, names=("logits",)).logits
    np.testing.assert_allclose(found, 0.25 * alone[0] + 0.75 * alone[1], atol=1e-5)
    assert [one.name for one in both.record] == [*(str(one.path) for one in made), "all, fused by weights"]
    assert all(-1 <= one.score <= 1 for one in both.record)


def test_what_is_said_of_teachers_is_of_all_together(
    bert_bundle: Bundle, bilstm_bundle: Bundle, tmp_path: Path
) -> None:
    guesser = tiny.write_checkpoint(tmp_path / "guesser", tiny.single_label(8, seed=9), trained=False)
    with reporting_to(heard := Heard()):
        opened(bert_bundle, guesser, fuse="best_per_class")

    assert not any("nothing to learn from" in one for one in heard.said)
    assert heard.said[-1].startswith(f"together they are no better than {bert_bundle.path} alone")
