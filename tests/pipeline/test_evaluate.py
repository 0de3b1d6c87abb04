"""What is said of answers that no score can be given to."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kd_deploy import measurement_store
from kd_deploy.errors import BundleError
from kd_deploy.measurement import Evaluation, TargetName
from kd_deploy.pipeline import evaluate as module
from kd_deploy.pipeline.evaluate import evaluate
from kd_deploy.tasks.task import Examples, LabelSpace

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
    name = TargetName(name="student", role="student", runtime="onnxruntime", precision="fp32")
    return evaluate([cast("Any", AlwaysTheSame(number, name))], ROWS, split="test", name="pairs")


def test_a_score_that_is_no_number_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "scores", lambda *_: {"spearman": 0.5, "perplexity": math.inf})

    found = judged(0.5)
    measurement_store.save(tmp_path / "evaluation.json", found)

    assert found.targets[0].quality == {"spearman": 0.5, "perplexity": None}
    assert measurement_store.load(tmp_path / "evaluation.json", Evaluation) == found


def test_answers_that_are_no_numbers_are_a_fault_of_the_model() -> None:
    with pytest.raises(BundleError, match=r"student answers row 0 of pairs\.jsonl with nan"):
        judged(math.nan)
