"""Which batches the student writes, and what: drawn anew for every batch, and the same when taken up again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_deploy.distill.on_policy import OwnWords
from kd_deploy.recipe import OnPolicy
from tests.runtime.generation.models import encoder_for, random_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
BATCH: dict[str, Any] = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "targets": IDS}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return random_model("gpt2")


def own_words(*, share: float = 1.0) -> OwnWords:
    return OwnWords(settings=OnPolicy(share=share, temperature=3.0), encoder=encoder_for("gpt2"), seed=0)


def written(words: OwnWords, model: nn.Module, steps: list[int]) -> list[list[int]]:
    said: list[Tensor] = [words.said(model, BATCH, step=step)["input_ids"] for step in steps]
    return [one.flatten().tolist() for one in said]


def test_the_batches_of_a_step_are_drawn_one_by_one(model: nn.Module) -> None:
    first, second, third = written(own_words(), model, [3, 3, 3])

    assert first != second != third != first


def test_what_is_taken_up_at_a_step_goes_on_as_it_would_have(model: nn.Module) -> None:
    whole = written(own_words(), model, [0, 0, 1, 1, 2, 2])

    assert written(own_words(), model, [1, 1, 2, 2]) == whole[2:]


def test_every_process_draws_for_itself(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = written(own_words(), model, [0, 0])
    monkeypatch.setenv("RANK", "1")

    assert written(own_words(), model, [0, 0]) != alone


def test_a_share_of_the_batches_is_of_batches_and_not_of_steps(model: nn.Module) -> None:
    found = written(own_words(share=0.5), model, [0] * 24)

    assert 4 < sum(one == IDS.flatten().tolist() for one in found) < 20
