"""Texts without labels and texts made anew: who learns from them, and how much the teacher counts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.learner import Learner
from kd_deploy.distill.narrowed import Tokenizing
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.rows import Collate, Rows, TrainingData
from kd_deploy.distill.signals import Signals
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.teaching import Teaching, prepare, untaught
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.distill.transfer import teacher_weights
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Distill, Samples
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.task import UNKNOWN
from tests import tiny

EXAMPLES = tiny.single_label(24, seed=3)
UNLABELED = ("we saw a great town", "the story was dull", "people of the film")
SPLITS = Splits(train=EXAMPLES, validation=EXAMPLES, test=None, unlabeled=UNLABELED)


def taught(checkpoint: Path, splits: Splits = SPLITS, **settings: Any) -> Teaching:
    return prepare(
        load_model(checkpoint),
        tiny.teachers(checkpoint, splits.labels),
        splits=splits,
        settings=Distill.model_validate(settings),
        tokens=Tokenizing(folder=checkpoint),
    )


def batch_of(checkpoint: Path, data: TrainingData, rows: range) -> dict[str, torch.Tensor]:
    found = Rows(data)
    return Collate(data.encoder, input_names(load_model(checkpoint)))([found[row] for row in rows])


def test_texts_without_labels_come_after_the_others_and_have_the_teachers_answer(checkpoint: Path) -> None:
    teaching = taught(checkpoint)

    batch = batch_of(checkpoint, teaching.data, range(20, 27))

    assert teaching.data.inputs == (*EXAMPLES.inputs, *UNLABELED)
    assert batch["targets"].tolist()[-3:] == [UNKNOWN] * 3
    assert batch["teacher:logits"].shape == (7, 2)


def test_labels_teach_from_labelled_texts_alone(checkpoint: Path) -> None:
    teaching = taught(checkpoint, objective=[{"term": "hard_labels"}, {"term": "soft_targets", "weight": 0.0}])
    model = load_model(checkpoint)

    batch = batch_of(checkpoint, teaching.data, range(20, 27))
    known = batch_of(checkpoint, teaching.data, range(20, 24))

    logits = model(**{name: known[name] for name in input_names(model)}).logits
    by_hand = hard_label_loss(logits, torch.tensor([target[0] for target in EXAMPLES.targets[20:]]))
    assert_close(Learner(model, teaching.objective)(batch), by_hand)
    nothing = Learner(model, teaching.objective)(batch_of(checkpoint, teaching.data, range(24, 27)))
    assert nothing.item() == 0


def test_an_objective_of_labels_alone_leaves_texts_without_labels_out(checkpoint: Path) -> None:
    teaching = taught(checkpoint, objective=[{"term": "hard_labels"}])

    assert teaching.data.inputs == EXAMPLES.inputs
    assert teaching.data.signals is None


@pytest.mark.parametrize(
    ("texts", "rows", "made_from"),
    [("labeled", 24, EXAMPLES.inputs), ("unlabeled", 3, UNLABELED)],
)
def test_a_stage_learns_from_the_texts_that_it_names(
    checkpoint: Path, texts: str, rows: int, made_from: tuple[str, ...]
) -> None:
    plain = taught(checkpoint, texts=texts)
    more = taught(checkpoint, texts=texts, augment={"mask": 0.5, "replace": 0.0, "ngram": 0.0})

    found = Rows(plain.data)
    assert [found[row]["target"] != UNKNOWN for row in range(len(found))] == [texts == "labeled"] * rows
    words = {word for text in made_from for word in text.split()} | {"[MASK]"}
    made = more.data.inputs[len(plain.data.inputs) :]
    assert made
    assert all(set(text.split()) <= words for text in made)


def test_texts_without_labels_that_are_not_there_are_asked_for(checkpoint: Path) -> None:
    splits = Splits(train=EXAMPLES, validation=EXAMPLES, test=None)

    with pytest.raises(RecipeError, match=r"distill.texts: unlabeled, but data.unlabeled has no text"):
        taught(checkpoint, splits, texts="unlabeled")


def test_several_labels_know_a_text_without_from_one_with_none(tmp_path: Path) -> None:
    rows = tiny.multi_label(12, seed=1)
    folder = tiny.write_checkpoint(tmp_path / "bert", rows, trained=False)
    splits = Splits(train=rows, validation=rows, test=None, unlabeled=UNLABELED)
    teaching = taught(folder, splits, objective=[{"term": "hard_labels"}, {"term": "soft_targets", "weight": 0.0}])

    batch = batch_of(folder, teaching.data, range(15))

    assert (batch["targets"][12:] == UNKNOWN).all()
    assert (batch["targets"][:12] >= 0).all()
    labelled = batch_of(folder, teaching.data, range(12))
    learner = Learner(load_model(folder), teaching.objective)
    assert_close(learner(batch), learner(labelled), atol=1e-4, rtol=1e-3)


def test_augmentation_adds_new_texts(checkpoint: Path) -> None:
    teaching = taught(checkpoint, augment={"mask": 0.3, "replace": 0.0, "copies": 2})

    made = teaching.data.unlabeled[len(UNLABELED) :]
    assert made
    assert not set(made) & set(EXAMPLES.inputs)
    assert any("[MASK]" in str(one) for one in made)
    assert taught(checkpoint, augment={"mask": 0.3, "replace": 0.0, "copies": 2}).data.unlabeled[3:] == made


def test_neighbours_come_from_the_teachers_word_vectors(checkpoint: Path) -> None:
    made = taught(checkpoint, augment={"mask": 0.0, "replace": 0.5, "ngram": 0.0}).data.unlabeled[len(UNLABELED) :]

    assert made
    assert not any("[MASK]" in str(one) for one in made)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (Samples(min_confidence=0.8), [1, 0, 1, 1]),
        (Samples(top_share=0.3), [1, 0, 0, 1]),
        (Samples(wrong=0.25), [1, 1, 0.25, 1]),
        (Samples(wrong=0.0, min_confidence=0.8), [1, 0, 0, 1]),
    ],
)
def test_the_teacher_counts_where_it_is_sure_and_right(samples: Samples, expected: list[float]) -> None:
    logits = np.array([[3.0, 0.0], [0.2, 0.0], [2.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    three = replace(EXAMPLES, inputs=("a", "b", "c"), targets=((0,), (0,), (1,)))

    np.testing.assert_allclose(teacher_weights(logits, three, samples), expected)


def test_a_share_is_one_of_the_texts_that_were_asked_about() -> None:
    logits = np.zeros((6, 2), dtype=np.float32)
    logits[[1, 3]] = [[3.0, 0.0], [1.0, 0.0]]
    answered = np.array([False, True, False, True, False, False])
    unlabelled = replace(EXAMPLES, inputs=(), targets=())

    found = teacher_weights(logits, unlabelled, Samples(top_share=0.5), answered=answered)

    assert found.tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("task", "expected"), [("fill-mask", UNLABELED), ("text-generation", UNLABELED), ("text2text", ())]
)
def test_a_control_reads_the_texts_that_are_their_own_labels(
    checkpoint: Path, task: str, expected: tuple[str, ...]
) -> None:
    rows = replace(EXAMPLES, labels=replace(EXAMPLES.labels, task=task))
    splits, tokens = replace(SPLITS, train=rows, validation=rows), Tokenizing(folder=checkpoint)

    assert untaught(splits, tokens, max_length=tiny.MAX_LENGTH, all_texts=True).data.unlabeled == expected
    assert untaught(splits, tokens, max_length=tiny.MAX_LENGTH).data.unlabeled == ()


def test_rows_on_which_nothing_counts_are_left_out(checkpoint: Path) -> None:
    limits = {"samples": {"top_share": 0.25}}

    by_teacher = taught(checkpoint, objective=[{"term": "soft_targets"}], **limits).data
    by_both = taught(checkpoint, objective=[{"term": "soft_targets"}, {"term": "hard_labels"}], **limits).data

    assert by_teacher.weights is not None
    assert by_teacher.rows is not None
    assert len(Rows(by_teacher)) == len(by_teacher.rows) == (by_teacher.weights > 0).sum() < 12
    assert by_both.rows is not None
    assert set(range(24)) <= set(by_both.rows.tolist())


def test_a_text_the_teacher_does_not_count_on_does_not_move_the_student(checkpoint: Path) -> None:
    teaching = taught(
        checkpoint,
        objective=[{"term": "soft_targets"}, {"term": "hard_labels", "weight": 1e-12}],
        samples={"top_share": 0.25},
    )
    data = teaching.data
    assert data.weights is not None
    counted = np.flatnonzero(data.weights[:24] > 0)

    learner = Learner(load_model(checkpoint).double(), teaching.objective)
    whole = learner(batch_of(checkpoint, data, range(24)))
    alone = learner(batch_of(checkpoint, replace(data, rows=counted), range(len(counted))))

    assert_close(whole, alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("others", [[], [{"term": "hard_labels", "weight": 0.0}]])
def test_limits_that_leave_nothing_are_refused(checkpoint: Path, others: list[dict[str, Any]]) -> None:
    with pytest.raises(RecipeError, match="leaves no text"):
        taught(checkpoint, objective=[{"term": "soft_targets"}, *others], samples={"min_confidence": 1.0})


def test_texts_to_which_the_teacher_has_no_answer_teach_by_their_labels_alone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, silent = Teachers.signals, [0, len(EXAMPLES)]  # one with a label, one without

    def half_deaf(*given: Any, **named: Any) -> Signals:
        found = plain(*given, **named)
        return replace(found, answered=~np.isin(np.arange(len(found.logits)), silent))

    monkeypatch.setattr(Teachers, "signals", half_deaf)
    data = taught(checkpoint).data

    assert data.weights is not None
    assert np.flatnonzero(data.weights == 0).tolist() == silent
    assert data.rows is not None
    assert sorted({*range(len(data.inputs))} - {*data.rows.tolist()}) == silent[1:]


def test_a_tokenizer_without_a_mask_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"augment": {"mask": 0.1}}
    splits = Splits(train=EXAMPLES, validation=EXAMPLES, test=None)
    other = tmp_path / "other"
    other.mkdir()
    for path in checkpoint.iterdir():
        text = path.read_bytes()
        (other / path.name).write_bytes(text.replace(b"[MASK]", b"<none>") if path.suffix == ".json" else text)
    (other / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')

    with pytest.raises(RecipeError, match="has no mask token") as caught:
        prepare(
            load_model(checkpoint),
            tiny.teachers(other, splits.labels),
            splits=splits,
            settings=Distill.model_validate(settings),
            tokens=Tokenizing(folder=other),
        )
    assert "distill.augment.mask: 0" in caught.value.hint
    assert open_encoder(other, max_length=8)
