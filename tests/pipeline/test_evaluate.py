"""What is said of answers that no score can be given to."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kd_deploy import measurement_store
from kd_deploy.errors import BundleError
from kd_deploy.measurement import Evaluation, TargetName
from kd_deploy.pipeline import evaluate as module
from kd_deploy.pipeline.answers import KeptAnswers, drop_others
from kd_deploy.pipeline.evaluate import evaluate
from kd_deploy.tasks.splits import MOST_VECTORS
from kd_deploy.tasks.task import Examples, LabelSpace

STUDENT = TargetName(name="student", role="student", runtime="onnxruntime", precision="fp32")
SPACE = LabelSpace(task="sentence-similarity", names=("score",), problem_type="regression")

ROWS = Examples(
    inputs=(("a cat", "a dog"), ("rain", "sun"), ("one", "two")),
    targets=(1.0, 2.0, 3.0),
    labels=SPACE,
    source="pairs.jsonl",
    sha256="",
)


@dataclass(frozen=True)
class AlwaysTheSame:
    """A model that gives one number to all."""

    number: float
    name: TargetName
    path: Path = Path("student")

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        yield SimpleNamespace(labels=SPACE, predictions=lambda rows: (self.number,) * len(rows))


def judged(number: float) -> Evaluation:
    return evaluate([cast("Any", AlwaysTheSame(number, STUDENT))], ROWS, split="test", name="pairs")


def test_a_score_that_is_no_number_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "scores", lambda *_: {"spearman": 0.5, "perplexity": math.inf})

    found = judged(0.5)
    measurement_store.save(tmp_path / "evaluation.json", found)

    assert found.targets[0].quality == {"spearman": 0.5, "perplexity": None}
    assert measurement_store.load(tmp_path / "evaluation.json", Evaluation) == found


def test_texts_without_scores_are_compared_on_so_many() -> None:
    inputs = tuple(f"text {row}" for row in range(2 * MOST_VECTORS + 1))
    space = LabelSpace(task="sentence-embedding", names=(), problem_type="regression")
    rows = replace(ROWS, inputs=inputs, targets=(None,) * len(inputs), labels=space)
    asked: list[Any] = []

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        yield SimpleNamespace(
            labels=space, predictions=lambda part: (asked.extend(part.inputs), ((1.0, 0.0),) * len(part))[1]
        )

    name = TargetName(name="teacher", role="teacher", runtime="torch", precision="fp32")
    target = SimpleNamespace(name=name, path=Path("teacher"), open=opened)
    found = evaluate([cast("Any", target)], rows, split="validation", name="texts")

    assert (found.data.n, len(found.references), found.targets[0].quality) == (2000, 2000, {"cosine": 1.0})
    assert (asked[0], asked[-1]) == (inputs[0], inputs[-3])  # from all over the file


@dataclass(frozen=True)
class Counted:
    """A model that gives its answers to as many rows, and counts how often it is asked."""

    answers: tuple[Any, ...]
    asked: list[int]
    weights: str = "first"
    name: TargetName = STUDENT
    path: Path = Path("student")

    def signature(self) -> list[object]:
        return [self.weights]

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        self.asked.append(1)
        yield SimpleNamespace(labels=SPACE, predictions=lambda _: self.answers)


def once_more(target: Counted, folder: Path, *, rows: object = "rows") -> tuple[Any, ...]:
    kept = KeptAnswers(folder=folder, rows=rows)
    found = evaluate([cast("Any", target)], ROWS, split="test", name="pairs", kept=kept)
    drop_others(folder, [kept.place(cast("Any", target))])
    return found.targets[0].predictions


@pytest.mark.parametrize(
    "answers", [(0.5, 1.0, -2.0), ((1,), (), (0, 2)), ("one", "", "three"), ((0.5, 1.0),) * 3, (("B", "O"), ("O",), ())]
)
def test_a_model_that_has_not_changed_is_asked_about_the_same_rows_once(
    answers: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scores", lambda *_: {})
    target = Counted(answers, [])

    assert once_more(target, tmp_path) == once_more(target, tmp_path) == answers
    assert len(target.asked) == 1

    once_more(target, tmp_path, rows="others")
    once_more(replace(target, weights="second"), tmp_path)
    once_more(replace(target, name=replace(target.name, precision="int8")), tmp_path)
    assert len(target.asked) == 4
    assert len(list(tmp_path.iterdir())) == 1

    once_more(target, tmp_path)
    next(tmp_path.iterdir()).write_text("{}", encoding="utf-8")
    assert once_more(target, tmp_path) == answers
    assert len(target.asked) == 6


def test_answers_that_are_no_numbers_are_a_fault_of_the_model() -> None:
    with pytest.raises(BundleError, match=r"student answers row 0 of pairs\.jsonl with nan"):
        judged(math.nan)
