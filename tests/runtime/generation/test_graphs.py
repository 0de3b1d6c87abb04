from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.export.generation.write import export_written
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation import Writer, graphs, open_decoder, sessions
from kd_deploy.runtime.generation.graphs import CausalGraph
from kd_deploy.tasks.writing import Decoder
from tests.runtime.generation.fakes import encoded_of, encoder_of, words
from tests.runtime.generation.models import POSITIONS, PROMPTS, encoder_for, ours, random_lstm, random_model, theirs

KINDS = ("gpt2", "bart", "lstm")
SETTINGS = (
    Generation(max_new_tokens=12),
    Generation(max_new_tokens=12, beams=3),
    Generation(max_new_tokens=12, temperature=1.0),
)


def model_of(kind: str) -> nn.Module:
    return random_lstm() if kind == "lstm" else random_model(kind)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return {kind: export_written(model_of(kind), tmp_path_factory.mktemp(kind), opset=17) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["host", "device"])
def decoder(
    kind: str, files: dict[str, dict[str, Path]], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Decoder]:
    if request.param == "device":  # the way of a device, with the host as the device
        monkeypatch.setitem(sessions.DEVICES, "CPUExecutionProvider", "cpu")
    found = open_decoder(files[kind], encoder=encoder_for(kind), threads=1, room=POSITIONS)
    yield found
    found.close()


@pytest.mark.parametrize("settings", SETTINGS, ids=["greedy", "beams", "chance"])
def test_a_graph_writes_what_its_model_writes(kind: str, decoder: Decoder, settings: Generation) -> None:
    drafts = ours(decoder, encoder_for(kind), settings=settings)

    expected = ours(torch_decoder(model_of(kind), encoder_for(kind)), encoder_for(kind), settings=settings)
    assert [draft.tokens for draft in drafts] == [draft.tokens for draft in expected]
    assert [d.log_probability for d in drafts] == pytest.approx([d.log_probability for d in expected], abs=1e-3)
    if kind != "lstm" and settings.temperature == 0:
        assert [draft.tokens for draft in drafts] == theirs(model_of(kind), kind, settings=settings)


def test_a_state_may_be_used_again(decoder: Decoder) -> None:
    tokens = np.array([4, 5, 6, 7])
    first = decoder.start(encoded_of(*PROMPTS))

    once = decoder.step(first.state, tokens)
    decoder.step(once.state, tokens)
    kept = decoder.step(decoder.keep(first.state, [2, 1, 1]), tokens[[2, 1, 1]])
    again = decoder.step(decoder.keep(first.state, [0, 1, 2, 3]), tokens)

    np.testing.assert_array_equal(again.logits, once.logits)
    np.testing.assert_allclose(kept.logits, once.logits[[2, 1, 1]], atol=1e-4)


def test_to_keep_all_copies_nothing(decoder: Decoder) -> None:
    state = decoder.start(encoded_of(*PROMPTS)).state

    assert decoder.keep(state, range(len(PROMPTS))) is state


def test_a_writer_joins_it_to_texts(kind: str, decoder: Decoder) -> None:
    writer = Writer(decoder, encoder_for(kind), Generation(max_new_tokens=12))
    texts = [" ".join(f"w{token}" for token in prompt) for prompt in PROMPTS]

    found = writer.write(texts)

    expected = [draft.tokens for draft in ours(decoder, encoder_for(kind))]
    assert [list(one.tokens) for one in found] == expected
    assert ["".join(writer.stream(text)) for text in texts] == [one.text for one in found]


def test_a_long_prompt_is_read_in_parts(files: dict[str, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = open_decoder(files["gpt2"], encoder=encoder_for("gpt2"), threads=1)
    whole = decoder.start(encoded_of(*PROMPTS))

    monkeypatch.setattr(graphs, "READ_AT_ONCE", 8)
    in_parts = decoder.start(encoded_of(*PROMPTS))

    np.testing.assert_allclose(in_parts.logits, whole.logits, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_language_model_reads_whole_texts(side: str, files: dict[str, dict[str, Path]]) -> None:
    runner = open_decoder(files["gpt2"], encoder=encoder_for("gpt2"), threads=1)
    assert isinstance(runner, CausalGraph)
    longest = max(map(len, PROMPTS))
    batch = {name: np.zeros((len(PROMPTS), longest), dtype=np.int64) for name in runner.input_names}
    places = [slice(longest - len(one), None) if side == "left" else slice(0, len(one)) for one in PROMPTS]
    for row, (one, place) in enumerate(zip(PROMPTS, places, strict=True)):
        batch["input_ids"][row, place], batch["attention_mask"][row, place] = one, 1

    logits = runner.run(batch)["logits"]

    assert runner.input_names == ("input_ids", "attention_mask")
    for row, (one, place) in enumerate(zip(PROMPTS, places, strict=True)):
        with torch.no_grad():
            expected = random_model("gpt2")(torch.tensor([one])).logits[0].numpy()
        np.testing.assert_allclose(logits[row, place], expected, atol=1e-4)


def test_room_is_what_it_was_opened_with_or_the_length_of_a_prompt(files: dict[str, dict[str, Path]]) -> None:
    prompts, sources = encoder_for("gpt2"), encoder_for("bart")

    assert open_decoder(files["gpt2"], encoder=prompts).room == prompts.max_length
    assert open_decoder(files["gpt2"], encoder=prompts, room=7).room == 7
    assert open_decoder(files["bart"], encoder=sources).room is None
    assert open_decoder(files["bart"], encoder=sources, room=7).room == 7


def test_graphs_that_cannot_write_are_refused(files: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    pair, encoder = files["bart"], encoder_for("bart")
    (tmp_path / "model.onnx").write_bytes(b"nothing")

    with pytest.raises(BundleError, match="no decoder_model_merged among"):
        open_decoder({"encoder_model": pair["encoder_model"]}, encoder=encoder)
    with pytest.raises(BundleError, match=r"takes no past_key_values\.0\.key"):
        open_decoder({"model": pair["encoder_model"]}, encoder=encoder)
    with pytest.raises(BundleError, match="asks for attention_mask"):
        open_decoder({**pair, "decoder_model_merged": files["gpt2"]["model"]}, encoder=encoder)
    with pytest.raises(BundleError, match="with which token"):
        open_decoder(pair, encoder=encoder_of(words()))
    with pytest.raises(BundleError, match="cannot open"):
        open_decoder({"model": tmp_path / "model.onnx"}, encoder=encoder)
    with pytest.raises(BenchmarkError, match="'warp'"):
        open_decoder(pair, encoder=encoder, provider="warp")
