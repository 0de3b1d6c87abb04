"""Active distillation: the budget is kept, no text is asked about twice, and the answers alone are learned from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.distill import asking as asking_module
from kd_deploy.distill import teachers as teachers_module
from kd_deploy.distill.job import Job
from kd_deploy.distill.student import distill_student
from kd_deploy.errors import RecipeError
from kd_deploy.manifest import told
from kd_deploy.progress import reporting_to
from tests.distill.test_student import SHARED, TRAIN, UNLABELED, job, same
from tests.heard import Heard

STUDENTS = ({"architecture": "transformer", "layers": 2}, {"architecture": "bilstm", "hidden_size": 8, "head_size": 8})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[object]]:
    heard: list[Sequence[object]] = []
    plain = teachers_module.teacher_signals

    def listening(model: Any, folder: Path, inputs: Sequence[object], **rest: Any) -> Any:
        heard.append(inputs)
        return plain(model, folder, inputs, **rest)

    monkeypatch.setattr(teachers_module, "teacher_signals", listening)
    return heard


def distilled(tmp_path: Path, teacher: Bundle, student: dict[str, Any], **settings: Any) -> Bundle:
    made = job(tmp_path / "work", SHARED | settings, student=student)
    return distill_student(made, teacher, tmp_path / "made")


@pytest.mark.parametrize("student", STUDENTS, ids=["transformer", "bilstm"])
@pytest.mark.parametrize("strategy", ["random", "margin", "uncertainty", "disagreement", "diversity"])
def test_the_budget_is_spent_in_rounds_on_different_texts(
    tmp_path: Path, bert_bundle: Bundle, asked: list[Sequence[object]], student: dict[str, Any], strategy: str
) -> None:
    active = {"budget": 20, "rounds": 3, "strategy": strategy}

    made = distilled(tmp_path, bert_bundle, student, active=active, objective=[{"term": "soft_targets"}])

    (record,) = made.manifest.training
    assert [len(one) for one in asked] == [6, 7, 7]
    assert [one.asked for one in record.rounds] == [6, 13, 20]
    assert record.asked == 20 <= record.taking_part  # equal texts have one answer
    assert "It chose what to ask the teacher" in " ".join(told(made.manifest.training))


def test_labels_count_on_texts_that_nobody_asked_about(tmp_path: Path, bert_bundle: Bundle) -> None:
    made = distilled(tmp_path, bert_bundle, STUDENTS[0], active={"budget": 8, "rounds": 2})

    (record,) = made.manifest.training
    assert record.asked == 8
    assert 48 <= record.taking_part <= 56


@pytest.mark.parametrize(
    ("objective", "pool"),
    [
        ([{"term": "soft_targets"}, {"term": "hard_labels"}], {*UNLABELED} - {*TRAIN.inputs}),
        ([{"term": "soft_targets"}, {"term": "hard_labels", "weight": 0}], {*TRAIN.inputs, *UNLABELED}),
    ],
    ids=["labels say what is right of the others", "labels say nothing"],
)
def test_a_budget_beyond_the_texts_asks_about_all_whose_labels_say_nothing(
    tmp_path: Path, bert_bundle: Bundle, asked: list[Sequence[object]], objective: list[Any], pool: set[str]
) -> None:
    made = distilled(tmp_path, bert_bundle, STUDENTS[0], active={"budget": 1000, "rounds": 2}, objective=objective)

    (record,) = made.manifest.training
    assert record.rounds[-1].asked == record.asked == len(pool)
    assert {text for some in asked for text in some} == pool


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ([{"term": "hidden"}], "needs its hidden"),
        ([{"term": "hard_labels"}], "no term of the objective needs one"),
        ([{"term": "relational"}], "relational weighs the texts of a batch"),
        ([{"term": "soft_targets"}, {"term": "hard_labels", "focus": "sure"}], "hard_labels weighs the texts"),
    ],
)
def test_what_cannot_be_asked_in_rounds_is_refused(
    tmp_path: Path, bert_bundle: Bundle, objective: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        distilled(tmp_path, bert_bundle, STUDENTS[0], active={"budget": 8}, objective=objective)


def test_a_round_whose_answers_are_all_unsure_does_not_end_the_others(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, heard = teachers_module.teacher_signals, list[int]()

    def unsure_at_first(*given: Any, **named: Any) -> Any:
        heard.append(1)
        found = plain(*given, **named)
        rows = found.rows["logits"]
        return replace(found, rows={"logits": [row * (0 if len(heard) == 1 else 100) for row in rows]})

    monkeypatch.setattr(teachers_module, "teacher_signals", unsure_at_first)
    sure = {"objective": [{"term": "soft_targets"}], "samples": {"min_confidence": 0.9}}

    made = distilled(tmp_path, bert_bundle, STUDENTS[0], active={"budget": 12, "rounds": 3}, **sure)

    (record,) = made.manifest.training
    assert [one.asked for one in record.rounds] == [8, 12]
    assert record.asked == 12
    heard.clear()
    with pytest.raises(RecipeError, match="leaves no text to learn from"):
        distilled(tmp_path / "one", bert_bundle, STUDENTS[0], active={"budget": 4, "rounds": 1}, **sure)


def test_what_is_farthest_is_so_from_what_was_asked_and_not_from_what_has_a_label(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[tuple[int, int]] = []
    plain = asking_module.choose

    def listening(logits: Any, *, already: Any, **rest: Any) -> Any:
        pools.append((len(logits), int(already.sum())))
        return plain(logits, already=already, **rest)

    monkeypatch.setattr(asking_module, "choose", listening)

    distilled(tmp_path, bert_bundle, STUDENTS[1], active={"budget": 6, "rounds": 2, "strategy": "diversity"})

    size = len({*UNLABELED} - {*TRAIN.inputs})
    assert pools == [(size, 0), (size, 3)]


def test_a_budget_beyond_the_pool_is_told(tmp_path: Path, bert_bundle: Bundle) -> None:
    heard = Heard()

    with reporting_to(heard):
        distilled(tmp_path, bert_bundle, STUDENTS[1], active={"budget": 1000, "rounds": 2})

    size = len({*UNLABELED} - {*TRAIN.inputs})
    assert f"student: there are {size} texts to ask about, fewer than the budget of 1000" in heard.said


def test_more_rounds_than_texts_to_ask_about_are_as_many_as_these(tmp_path: Path, bert_bundle: Bundle) -> None:
    several = job(tmp_path / "work", SHARED | {"active": {"budget": 100, "rounds": 5}}, student=STUDENTS[1])
    splits = replace(several.splits, train=TRAIN.some(range(2)), unlabeled=UNLABELED[:3])

    made = distill_student(replace(several, splits=splits), bert_bundle, tmp_path / "made")

    assert [one.asked for one in made.manifest.training[0].rounds] == [1, 2, 3]


def test_rounds_that_are_over_are_not_trained_again(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"active": {"budget": 20, "rounds": 3, "strategy": "margin"}, "objective": [{"term": "soft_targets"}]}
    whole = distilled(tmp_path / "whole", bert_bundle, STUDENTS[0], **settings)
    plain, trained = Job.train, list[str]()

    def broken_off(self: Job, *args: Any, what: str, **rest: Any) -> dict[str, float]:
        trained.append(what)
        if what.endswith("round 3") and trained.count(what) == 1:
            raise KeyboardInterrupt
        return plain(self, *args, what=what, **rest)

    monkeypatch.setattr(Job, "train", broken_off)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path, bert_bundle, STUDENTS[0], **settings)
    again = distilled(tmp_path, bert_bundle, STUDENTS[0], **settings)

    assert trained == [f"student round {number}" for number in (1, 2, 3, 3)]
    assert same(whole, again)
    assert whole.manifest.training[0].rounds == again.manifest.training[0].rounds


def test_equal_texts_are_asked_about_once_and_have_one_answer(
    tmp_path: Path, bert_bundle: Bundle, asked: list[Sequence[object]]
) -> None:
    active = {"budget": 6, "rounds": 2, "strategy": "margin"}
    several = job(tmp_path / "work", SHARED | {"active": active}, student=STUDENTS[1])
    splits = replace(several.splits, train=TRAIN.some(range(2)), unlabeled=UNLABELED[:6] * 3)

    made = distill_student(replace(several, splits=splits), bert_bundle, tmp_path / "made")

    assert [len(one) for one in asked] == [3, 3]
    assert len({text for one in asked for text in one}) == 6
    assert [one.asked for one in made.manifest.training[0].rounds] == [3, 6]
    assert made.manifest.training[0].asked == 6
