"""The LSTM encoder-decoder: blind to padding, the same token by token as at once, and a graph that says the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close

from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq, LstmSeq2SeqConfig
from tests.distill.students.exported import without_gradient

PAD, START, END, VOCABULARY = 0, 1, 2, 40
STATE = ("hidden", "cell", "attended")
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "feeding": {"input_feeding": True, "decoder_layers": 2},
    "deep": {"encoder_layers": 2, "decoder_layers": 3, "embedding_size": 6},
    "untied": {"tie": False},
}


def make(**sizes: Any) -> LstmSeq2Seq:
    torch.manual_seed(0)
    usual: dict[str, Any] = {
        "vocab_size": VOCABULARY, "embedding_size": 8, "hidden_size": 6, "pad_token_id": PAD,
        "decoder_start_token_id": START, "eos_token_id": END,
    }  # fmt: skip
    return LstmSeq2Seq(LstmSeq2SeqConfig(**usual | sizes)).eval()


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> LstmSeq2Seq:
    return make(**KINDS[request.param])


def padded(ids: list[int], *, left: int = 0, right: int = 0) -> tuple[Tensor, Tensor]:
    row = torch.tensor([[PAD] * left + ids + [PAD] * right])
    mask = torch.tensor([[0] * left + [1] * len(ids) + [0] * right])
    return row, mask


def batch(texts: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
    longest = max(map(len, texts))
    rows = [padded(ids, **{side: longest - len(ids)}) for ids in texts]
    return torch.cat([row for row, _ in rows]), torch.cat([mask for _, mask in rows])


TARGET = torch.tensor([[START, 7, 8, 9, 12]])
SOURCES = [[7, 2], [5, 4, 3, 2], [9, 8, 7, 6, 5, 2]]


@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 9), (1, 0), (9, 0)])
@pytest.mark.parametrize("ids", [[7], [5, 4, 3, 2, 1, 9, 9]])
def test_padding_on_either_side_changes_nothing(model: LstmSeq2Seq, ids: list[int], left: int, right: int) -> None:
    row, mask = padded(ids, left=left, right=right)

    bare, filled = model(*padded(ids), TARGET), model(row, mask, TARGET)

    assert_close(filled.logits, bare.logits)
    assert_close(filled.encoder_last_hidden_state[mask == 1], bare.encoder_last_hidden_state[0])
    assert not filled.encoder_last_hidden_state[mask == 0].any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_longer_mates_in_the_batch_change_nothing(model: LstmSeq2Seq, side: str) -> None:
    together = model(*batch(SOURCES, side), TARGET.expand(3, -1)).logits

    alone = torch.cat([model(*padded(ids), TARGET).logits for ids in SOURCES])
    assert_close(together, alone)


def test_token_by_token_is_the_same_as_all_at_once(model: LstmSeq2Seq) -> None:
    ids, mask = batch(SOURCES, "right")
    targets = torch.tensor([[START, 7, 8, 9], [START, 4, 4, 4], [START, 9, 3, 20]])
    states, state = model.encode(ids, mask)

    steps = []
    for token in targets.split(1, dim=1):  # type: ignore[no-untyped-call]
        logits, state = model.decode(token, states, mask, state)
        steps.append(logits)

    assert_close(torch.cat(steps, dim=1), model(ids, mask, targets).logits)


def test_the_state_has_the_sizes_that_it_is_said_to_have(model: LstmSeq2Seq) -> None:
    states, first = model.encode(*batch(SOURCES, "right"))
    logits, after = model.decode(TARGET.expand(3, -1), states, batch(SOURCES, "right")[1], first)

    layers, width = model.sizes.decoder_layers, model.sizes.hidden_size
    for state in (first, after):
        assert {name: tuple(one.shape) for name, one in state.items()} == {
            "hidden": (3, layers, width),
            "cell": (3, layers, width),
            "attended": (3, width),
        }
    assert states.shape == (3, 6, 2 * width)
    assert logits.shape == (3, 5, VOCABULARY)


def test_without_input_feeding_nobody_reads_what_the_last_token_saw() -> None:
    plain, feeding = make(), make(input_feeding=True)
    ids, mask = batch(SOURCES, "right")

    for model, reads in ((plain, False), (feeding, True)):
        states, state = model.encode(ids, mask)
        other = state | {"attended": torch.ones_like(state["attended"])}
        left, right = (model.decode(TARGET.expand(3, -1), states, mask, one)[0] for one in (state, other))
        assert torch.equal(left, right) is not reads


def test_a_target_does_not_see_what_follows(model: LstmSeq2Seq) -> None:
    source, other = padded(SOURCES[1]), TARGET.clone()
    other[0, -1] = 30

    left, right = (model(*source, target).logits for target in (TARGET, other))

    assert_close(left[:, :-1], right[:, :-1])
    assert not torch.equal(left[:, -1], right[:, -1])


def test_a_source_of_nothing_but_padding_gives_numbers(model: LstmSeq2Seq) -> None:
    ids, mask = torch.tensor([[7, 8], [PAD, PAD]]), torch.tensor([[1, 1], [0, 0]])

    assert model(ids, mask, TARGET.expand(2, -1)).logits.isfinite().all()


def test_every_weight_learns(model: LstmSeq2Seq) -> None:
    again = LstmSeq2Seq(model.sizes)

    assert without_gradient(again, again(*batch(SOURCES, "right"), TARGET.expand(3, -1)).logits.square().mean()) == []


def test_a_tied_head_is_the_word_vectors_and_one_tensor_in_the_file(tmp_path: Path) -> None:
    tied, narrow, untied = make(embedding_size=6), make(), make(tie=False)

    assert "head.weight" not in tied.state_dict()
    assert [type(one.project) for one in (tied, narrow, untied)] == [nn.Identity, nn.Linear, nn.Identity]
    assert untied.state_dict()["head.weight"].shape == (VOCABULARY, 6)
    save_file(narrow.state_dict(), tmp_path / "model.safetensors")
    again = LstmSeq2Seq(LstmSeq2SeqConfig(**narrow.sizes.to_dict())).eval()  # type: ignore[arg-type]
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again(*padded([7]), TARGET).logits, narrow(*padded([7]), TARGET).logits)


@pytest.mark.parametrize("feeding", [False, True])
def test_it_learns_to_say_a_source_again(feeding: bool) -> None:
    torch.manual_seed(0)
    model = make(vocab_size=8, embedding_size=16, hidden_size=16, dropout=0.0, input_feeding=feeding).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        said = torch.randint(3, 8, (16, 3))
        shown = torch.cat([torch.full((16, 1), START), said[:, :-1]], dim=1)
        logits = model(said, torch.ones_like(said), shown).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), said.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    assert loss.item() < 0.3


class Parts(nn.Module):
    """The two halves with flat arrays, as a graph has them."""

    def __init__(self, model: LstmSeq2Seq, *, decoder: bool) -> None:
        super().__init__()
        self.model, self.decoder = model, decoder

    def forward(self, ids: Tensor, mask: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        if self.decoder:
            out, state = self.model.decode(ids, rest[0], mask, dict(zip(STATE, rest[1:], strict=True)))
        else:
            out, state = self.model.encode(ids, mask)
        return (out, *(state[name] for name in STATE))


def export(model: LstmSeq2Seq, folder: Path, *, steps: int) -> list[onnxruntime.InferenceSession]:
    ids, mask = batch(SOURCES, "left")
    with torch.no_grad():
        states, state = model.encode(ids, mask)
    pasts = {f"past.{name}": state[name] for name in STATE}
    given: list[dict[str, Tensor]] = [
        {"input_ids": ids, "attention_mask": mask},
        {"input_ids": ids[:, :steps], "attention_mask": mask, "states": states, **pasts},
    ]
    made = []
    for number, arrays in enumerate(given):
        names = {name: {0: "batch"} for name in [*arrays, "out", *STATE]}
        for name in ("attention_mask", "states", *(["input_ids", "out"] if steps > 1 or not number else [])):
            names[name] = {0: "batch", 1: f"{name}_length"}
        path = folder / f"{number}.onnx"
        torch.onnx.export(
            Parts(model, decoder=bool(number)).eval(),
            tuple(arrays.values()),
            str(path),
            input_names=list(arrays),
            output_names=["out", *STATE],
            dynamic_axes={name: names[name] for name in names},
            opset_version=17,
            dynamo=False,
        )
        made.append(onnxruntime.InferenceSession(path))
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_its_graphs_say_what_it_says(kind: str, side: str, tmp_path: Path) -> None:
    model = make(**KINDS[kind])
    steps = 1 if model.sizes.input_feeding else 3  # a loop over tokens is unrolled: one at a time then
    encoder, decoder = export(model, tmp_path, steps=steps)
    for texts in ([[9]], [[9], [8, 7, 6, 5, 4, 3, 3]], [[5, 6, 7], [5], [8, 9], [3, 4, 5, 6]]):
        ids, mask = batch(texts, side)
        targets = torch.randint(3, VOCABULARY, (len(texts), 5))
        source = {"attention_mask": mask.numpy()}
        states, *state = encoder.run(None, {"input_ids": ids.numpy(), **source})
        written = []
        at_once = 1 if steps == 1 else 2  # 2, 2 and 1 where their number is free
        for tokens in targets.split(at_once, dim=1):  # type: ignore[no-untyped-call]
            pasts = {f"past.{name}": one for name, one in zip(STATE, state, strict=True)}
            logits, *state = decoder.run(None, {"input_ids": tokens.numpy(), **source, "states": states, **pasts})
            written.append(logits)
        expected = model(ids, mask, targets).logits.detach().numpy()
        np.testing.assert_allclose(np.concatenate(written, axis=1), expected, atol=1e-5)
