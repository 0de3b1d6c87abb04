"""Parity of models that write finds faults; greedy texts are compared text by text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.export.generation import parity
from kd_deploy.export.generation.parity import compare_written, greedy_agreement, written_cases
from kd_deploy.export.parity import TOLERANCE
from kd_deploy.runtime.generation.graphs import open_decoder
from kd_deploy.tasks.encoding import Encoded, Encoder, Marks
from kd_deploy.tasks.writing import Step
from tests.export.generation.conftest import POSITIONS, SHAPES, WORDS

Files = dict[str, dict[str, Path]]


@pytest.mark.parametrize("family", ["gpt2", "bart", "lstm"])
def test_a_graph_of_another_model_is_found_out(
    family: str, models: dict[str, nn.Module], exported: Files, tmp_path: Path
) -> None:
    part = list(exported[family])[-1]
    graph = onnx.load(exported[family][part])
    largest = max(graph.graph.initializer, key=lambda one: np.prod(one.dims))
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * 1.01, largest.name))
    onnx.save(graph, tmp_path / "spoiled.onnx")

    found = compare_written(models[family], {**exported[family], part: tmp_path / "spoiled.onnx"}, SHAPES)

    assert found.max_abs_error > TOLERANCE
    assert "written" in found.worst.batch


def test_cases_leave_room_for_what_is_written() -> None:
    found = list(written_cases(SHAPES))

    assert {case.batch["input_ids"].shape[1] + case.batch["written"].shape[1] for case in found} >= {7, POSITIONS}
    assert max(case.batch["input_ids"].shape[1] + case.batch["written"].shape[1] for case in found) == POSITIONS
    assert {len(case.batch["written"]) for case in found} == {1, 2, 7}
    assert max(case.batch["written"].max() for case in found) < WORDS


def test_cases_that_would_take_too_much_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "LARGEST", 20 * WORDS)

    assert max(case.batch["input_ids"].size for case in written_cases(SHAPES)) <= 20


class Counting:
    """Writes the length of the prompt, one more each time, and a slip where the length is `slips_at`."""

    room = None

    def __init__(self, *, slips_at: int = -1) -> None:
        self.slips_at, self.rows = slips_at, list[int]()

    def start(self, encoded: Sequence[Encoded]) -> Step:
        return self._say(np.array([len(one) for one in encoded]))

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:  # noqa: ARG002
        return self._say(tokens + 1)

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:  # noqa: ARG002
        return state

    def close(self) -> None:
        pass

    def _say(self, tokens: NDArray[np.int64]) -> Step:
        self.rows.append(len(tokens))
        said = np.where(tokens == self.slips_at, tokens + 2, tokens)
        return Step(np.eye(60, dtype=np.float32)[said], {})


def prompts(*lengths: int) -> list[Encoded]:
    return [Encoded([2] * length, [0] * length) for length in lengths]


def test_agreement_is_the_share_of_equal_texts() -> None:
    lengths = prompts(1, 2, 10, 11)

    assert greedy_agreement(Counting(), Counting(), lengths, ends=(20,), tokens=5) == 1.0
    assert greedy_agreement(Counting(), Counting(slips_at=5), lengths, ends=(20,), tokens=5) == 0.5
    assert greedy_agreement(Counting(), Counting(slips_at=5), lengths, ends=(20,), tokens=2) == 1.0
    assert greedy_agreement(Counting(), Counting(slips_at=5), lengths, ends=(3,), tokens=5) == 1.0


def test_texts_that_are_over_are_not_written_on() -> None:
    left, right = Counting(), Counting()

    greedy_agreement(left, right, prompts(1, 5), ends=(2,), tokens=4)

    assert left.rows == right.rows == [2, 2, 1, 1]


@pytest.mark.parametrize("family", ["gpt2", "llama", "bart", "marian", "lstm", "lstm told"])
def test_graphs_write_what_torch_writes(family: str, models: dict[str, nn.Module], exported: Files) -> None:
    starts = () if "model" in exported[family] else (0,)
    encoder = Encoder(
        tokenizer=Tokenizer(WordLevel({"word": 0}, unk_token="word")),  # noqa: S106
        max_length=POSITIONS,
        pad_id=0,
        marks=Marks(starts=starts, ends=(1,)),
    )
    rng = np.random.default_rng(0)
    texts = [Encoded(rng.integers(2, WORDS, size=length).tolist(), [0] * length) for length in rng.integers(1, 24, 100)]
    left = open_decoder(exported[family], encoder=encoder, threads=1)
    right = torch_decoder(models[family], encoder)

    assert greedy_agreement(left, right, texts, ends=(1,), tokens=12) == 1.0
