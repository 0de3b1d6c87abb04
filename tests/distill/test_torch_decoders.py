import numpy as np
import pytest
import torch

from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.errors import BundleError
from kd_deploy.generation import Generation
from tests.runtime.generation.fakes import encoded_of, encoder_of, words
from tests.runtime.generation.models import (
    CAUSAL,
    PAIRS,
    POSITIONS,
    PROMPTS,
    SETTINGS,
    encoder_for,
    ours,
    random_lstm,
    random_model,
    theirs,
)

KINDS = (*CAUSAL, *PAIRS)


def assert_not_trivial(rows: list[list[int]]) -> None:
    assert len({tuple(row) for row in rows}) == len(rows), "every prompt is to have its own answer"
    assert len({token for row in rows for token in row}) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_those_of_transformers(kind: str) -> None:
    model = random_model(kind)

    drafts = ours(torch_decoder(model, encoder_for(kind)), encoder_for(kind))

    expected = theirs(model, kind)
    assert [draft.tokens for draft in drafts] == expected
    assert_not_trivial(expected)
    assert len(set(map(len, expected))) > 1, "some are to end by themselves"


@pytest.mark.parametrize("kind", KINDS)
def test_beams_are_those_of_transformers(kind: str) -> None:
    model, settings = random_model(kind), Generation(max_new_tokens=12, beams=4)

    drafts = ours(torch_decoder(model, encoder_for(kind)), encoder_for(kind), settings=settings)

    assert [draft.tokens for draft in drafts] == theirs(model, kind, settings=settings)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_penalties_and_bans_are_those_of_transformers(kind: str, beams: int) -> None:
    settings = Generation(max_new_tokens=12, beams=beams, repetition_penalty=1.4, no_repeat_ngram=2)
    model, encoder = random_model(kind), encoder_for(kind, never=(0, 5))

    drafts = ours(torch_decoder(model, encoder), encoder, settings=settings)

    expected = theirs(model, kind, settings=settings, suppress_tokens=[0, 5])
    assert [draft.tokens for draft in drafts] == expected
    assert expected != theirs(model, kind, settings=Generation(max_new_tokens=12, beams=beams))


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_an_lstm_writes_in_a_batch_what_it_writes_alone(feeding: bool, beams: int) -> None:
    settings = Generation(max_new_tokens=12, beams=beams)
    encoder = encoder_for("lstm")
    decoder = torch_decoder(random_lstm(input_feeding=feeding), encoder)

    together = [draft.tokens for draft in ours(decoder, encoder, settings=settings)]

    alone = [ours(decoder, encoder, settings=settings, prompts=[prompt])[0].tokens for prompt in PROMPTS]
    assert together == alone
    assert_not_trivial(together)


def test_an_lstm_says_step_by_step_what_it_says_at_once() -> None:
    model, encoder = random_lstm(), encoder_for("lstm")
    decoder = torch_decoder(model, encoder)

    draft = ours(decoder, encoder, prompts=[PROMPTS[0]])[0]

    source = torch.tensor([PROMPTS[0]])
    written = torch.tensor([[*encoder.marks.starts, *draft.tokens]])
    with torch.no_grad():
        logits = model(source, torch.ones_like(source), written).logits[0]
    assert logits.argmax(dim=-1)[: len(draft.tokens)].tolist() == draft.tokens


@pytest.mark.parametrize("kind", [*KINDS, "lstm"])
def test_a_state_may_be_used_again(kind: str) -> None:
    model = random_lstm() if kind == "lstm" else random_model(kind)
    decoder, tokens = torch_decoder(model, encoder_for(kind)), np.array([4, 5, 6, 7])
    first = decoder.start(encoded_of(*PROMPTS))

    once = decoder.step(first.state, tokens)
    decoder.step(decoder.keep(once.state, [1, 1]), tokens[:2])
    kept = decoder.step(decoder.keep(first.state, [2, 0, 0]), tokens[[2, 0, 0]])
    again = decoder.step(decoder.keep(first.state, [0, 1, 2, 3]), tokens)

    np.testing.assert_array_equal(again.logits, once.logits)
    np.testing.assert_allclose(kept.logits, once.logits[[2, 0, 0]], atol=1e-5)


def test_room_is_what_a_model_has_positions_for() -> None:
    rooms = {kind: torch_decoder(random_model(kind), encoder_for(kind)).room for kind in KINDS}

    assert rooms == {**dict.fromkeys(KINDS, POSITIONS), "t5": None}
    assert torch_decoder(random_lstm(), encoder_for("lstm")).room is None


def test_log_probabilities_are_those_of_the_model() -> None:
    model, encoder = random_model("gpt2"), encoder_for("gpt2")

    draft = ours(torch_decoder(model, encoder), encoder, settings=SETTINGS)[1]

    ids = torch.tensor([[*PROMPTS[1], *draft.tokens, *([2] if draft.ended else [])]])
    with torch.no_grad():
        shares = model(ids).logits.log_softmax(dim=-1)[0, :-1].gather(1, ids[0, 1:, None])
    assert draft.log_probability == pytest.approx(shares[len(PROMPTS[1]) - 1 :].sum().item(), abs=1e-4)


def test_a_decoder_that_nobody_starts_is_refused() -> None:
    with pytest.raises(BundleError, match="with which token"):
        torch_decoder(random_model("bart"), encoder_of(words()))
