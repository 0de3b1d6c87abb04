from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.choosing import log_softmax
from tests.runtime.generation.fakes import END, Chain, encoder_of, random_table, words
from tests.runtime.generation.models import encoder_for, ours, random_model, theirs

LENGTH = 3
VOCABULARY = 6


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("seed", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
def test_beams_are_those_of_transformers(kind: str, seed: int, length_penalty: float) -> None:
    settings = Generation(max_new_tokens=10, beams=4, length_penalty=length_penalty)
    model, encoder = random_model(kind, seed=seed), encoder_for(kind)

    drafts = ours(torch_decoder(model, encoder), encoder, settings=settings)

    assert [draft.tokens for draft in drafts] == theirs(model, kind, settings=settings)


def test_several_end_tokens_are_as_in_transformers() -> None:
    settings = Generation(max_new_tokens=10, beams=3)
    model, encoder = random_model("llama"), encoder_for("llama", ends=(END, 7, 11))

    drafts = ours(torch_decoder(model, encoder), encoder, settings=settings)

    rows = theirs(model, "llama", settings=settings, eos_token_id=[END, 7, 11])
    expected = [row[: min((row.index(end) for end in (7, 11) if end in row), default=len(row))] for row in rows]
    assert [draft.tokens for draft in drafts] == expected


def test_enough_beams_find_the_best_text_of_all() -> None:
    table = random_table(3, vocabulary=VOCABULARY, spread=1.0)
    shares = log_softmax(table)
    encoder = encoder_of(words(VOCABULARY), ends=())

    draft = ours(Chain(table), encoder, settings=Generation(max_new_tokens=LENGTH, beams=40), prompts=[[3]])[0]

    def worth(tokens: tuple[int, ...]) -> float:
        return float(sum(shares[before, after] for before, after in zip((3, *tokens), tokens, strict=False)))

    best = max(product(range(VOCABULARY), repeat=LENGTH), key=worth)
    assert draft.tokens == list(best)
    np.testing.assert_allclose(draft.log_probability, worth(best), rtol=1e-5)


@pytest.mark.parametrize("beams", [1, 3, 8])
@pytest.mark.parametrize("vocabulary", [64, 700, 2001])
def test_the_best_of_a_large_vocabulary_are_followed(vocabulary: int, beams: int) -> None:
    row = np.random.default_rng(vocabulary).normal(size=vocabulary).astype(np.float32)
    table = np.stack([np.roll(row, 37 * place) for place in range(vocabulary)])
    shares = log_softmax(table)
    encoder = encoder_of(words(vocabulary), ends=())

    draft = ours(Chain(table), encoder, settings=Generation(max_new_tokens=2, beams=beams), prompts=[[3]])[0]

    firsts = np.argsort(-shares[3])[:beams]
    worth = {(int(one), int(two)): shares[3, one] + shares[one, two] for one in firsts for two in range(vocabulary)}
    assert tuple(draft.tokens) == max(worth, key=lambda pair: worth[pair])


def test_a_text_is_the_same_whatever_stands_beside_it() -> None:
    settings = Generation(max_new_tokens=8, beams=3)
    prompts, encoder = ([3], [4], [5], [6]), encoder_of(words())

    together = [d.tokens for d in ours(Chain(random_table(1)), encoder, settings=settings, prompts=prompts)]

    alone = [ours(Chain(random_table(1)), encoder, settings=settings, prompts=[one])[0].tokens for one in prompts]
    assert together == alone


def test_penalties_choose_and_do_not_count_in_the_log_probability() -> None:
    settings = Generation(max_new_tokens=4, beams=2, repetition_penalty=1.5)
    table = random_table(2)

    draft = ours(Chain(table), encoder_of(words(), ends=()), settings=settings, prompts=[[3]])[0]

    pairs = zip([3, *draft.tokens], draft.tokens, strict=False)
    expected = sum(log_softmax(table)[before, after] for before, after in pairs)
    np.testing.assert_allclose(draft.log_probability, expected, rtol=1e-5)


def test_rows_of_texts_that_are_over_are_dropped() -> None:
    table = np.full((12, 12), -9.0, dtype=np.float32)
    for before, after in ((3, END), (10, END), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9)):
        table[before, after] = 9.0
    table[3, 10] = 0.0  # the second beam after 3, over one step later
    decoder = Chain(table)

    ours(decoder, encoder_of(words()), settings=Generation(max_new_tokens=6, beams=2), prompts=[[3], [4]])

    assert decoder.rows[0] == 2
    assert decoder.rows[1] == 4
    assert decoder.rows[-1] == 2


@pytest.mark.parametrize(("seed", "length_penalty"), [(8, 0.3), (13, 0.5), (5, 1.0)])  # where it tells
def test_a_mark_that_every_text_starts_with_counts_in_its_length(seed: int, length_penalty: float) -> None:
    forced, settings = 5, Generation(max_new_tokens=8, beams=4, length_penalty=length_penalty)
    model, plain = random_model("bart", seed=seed), encoder_for("bart")
    encoder = replace(plain, marks=replace(plain.marks, starts=(*plain.marks.starts, forced)))

    found = ours(torch_decoder(model, encoder), encoder, settings=settings)

    longer = settings.model_copy(update={"max_new_tokens": 9})
    wanted = theirs(model, "bart", settings=longer, forced_bos_token_id=forced)
    assert [[forced, *one.tokens] for one in found] == wanted
