from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.choosing import adjusted, chance_of, choose, log_softmax, narrowed

ROWS, VOCABULARY = 4, 50
HISTORIES = np.random.default_rng(7).integers(0, 6, size=(ROWS, 9)).tolist()


def logits(seed: int, *, vocabulary: int = VOCABULARY) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.random.default_rng(seed).normal(size=(ROWS, vocabulary)) * 3).astype(np.float32)


def processed(scores: np.ndarray[Any, Any], *processors: Any) -> np.ndarray[Any, Any]:
    out = torch.from_numpy(scores.copy())
    for processor in processors:
        out = processor(torch.tensor(HISTORIES), out)
    return out.numpy()


@pytest.mark.parametrize("penalty", [0.7, 1.3, 2.0])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_penalties_and_bans_are_those_of_transformers(penalty: float, size: int) -> None:
    settings = Generation(repetition_penalty=penalty, no_repeat_ngram=size)
    bans = [NoRepeatNGramLogitsProcessor(size)] if size else []

    ours = adjusted(logits(1), HISTORIES, settings=settings, never=(4, 9))

    theirs = processed(
        logits(1), RepetitionPenaltyLogitsProcessor(penalty), *bans, SuppressTokensLogitsProcessor([4, 9])
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("top_k", [0, 1, 5, 49, 80])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_chance_is_left_to_the_tokens_that_transformers_leaves_it_to(
    top_k: int, top_p: float, temperature: float
) -> None:
    settings = Generation(temperature=temperature, top_k=top_k, top_p=top_p)
    first = [TemperatureLogitsWarper(temperature)] + ([TopKLogitsWarper(top_k)] if top_k else [])

    ours = narrowed(logits(2), settings)

    theirs = processed(logits(2), *first, *([TopPLogitsWarper(top_p)] if top_p < 1 else []))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_likeliest_token_is_chosen_without_a_temperature() -> None:
    chosen = choose(logits(3), HISTORIES, settings=Generation(), never=(), chances=[chance_of(Generation(), 0)] * ROWS)

    np.testing.assert_array_equal(chosen.tokens, logits(3).argmax(axis=1))
    np.testing.assert_allclose(chosen.log_probabilities, log_softmax(logits(3)).max(axis=1), rtol=1e-5)


def test_log_probabilities_are_by_the_logits_as_they_came() -> None:
    settings = Generation(temperature=0.5, top_k=3, repetition_penalty=1.5)
    chances = [chance_of(settings, row) for row in range(ROWS)]

    chosen = choose(logits(4), HISTORIES, settings=settings, never=(), chances=chances)

    expected = torch.from_numpy(logits(4)).log_softmax(dim=-1).gather(1, torch.from_numpy(chosen.tokens)[:, None])[:, 0]
    np.testing.assert_allclose(chosen.log_probabilities, expected.numpy(), rtol=1e-5)


def test_what_is_never_written_is_not_drawn_either() -> None:
    settings, never = Generation(temperature=5.0), tuple(range(1, 8))
    chances = [chance_of(settings, row) for row in range(ROWS)]

    drawn = {
        int(token)
        for _ in range(50)
        for token in choose(
            logits(5, vocabulary=9), [()] * ROWS, settings=settings, never=never, chances=chances
        ).tokens
    }

    assert drawn == {0, 8}


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    settings = Generation(temperature=2.0)
    scores = np.array([[0.0, 1.0, 2.0, -9e9]], dtype=np.float32)
    chance = [chance_of(settings, 0)]

    drawn = [int(choose(scores, [()], settings=settings, never=(), chances=chance).tokens[0]) for _ in range(4000)]

    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.exp(scores[0] / 2) / np.exp(scores[0] / 2).sum(), atol=0.03)


def test_a_row_draws_the_same_whatever_stands_beside_it() -> None:
    settings = Generation(temperature=1.0, seed=-3)

    def drawn(rows: list[int]) -> list[int]:
        chances = [chance_of(settings, row) for row in rows]
        return choose(logits(6)[rows], [()] * len(rows), settings=settings, never=(), chances=chances).tokens.tolist()

    together = drawn([0, 1, 2, 3])
    assert [drawn([row])[0] for row in range(ROWS)] == together
    assert drawn([3, 1]) == [together[3], together[1]]


def test_a_row_with_nothing_left_keeps_its_own_scores() -> None:
    scores = logits(8, vocabulary=3)

    ours = adjusted(scores, [[0, 1, 2]] * ROWS, settings=Generation(no_repeat_ngram=1), never=())

    np.testing.assert_array_equal(ours, scores)


def test_a_token_without_a_logit_is_not_penalised() -> None:
    settings = Generation(repetition_penalty=2.0)

    ours = adjusted(logits(9), [[VOCABULARY, VOCABULARY + 7]] * ROWS, settings=settings, never=())

    np.testing.assert_array_equal(ours, logits(9))
