"""The BiLSTM's heads for tokens and for spans: blind to padding, the same as a graph, and what a span sees."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig, PairFeatures
from tests.distill.students.exported import ENTRIES, check_int8, check_parity, without_gradient

PAD, WIDTH, HIDDEN, CLASSES = 0, 8, 6, 3
QUESTION, CONTEXT = [2, 7, 8, 3], [9, 7, 5, 4, 3]
OUTPUTS = {"token": ("logits",), "span": ("start_logits", "end_logits")}
HEADS = ("token", "span")


def model(head: Literal["text", "token", "span"], *, dropout: float = 0.3) -> Bilstm:
    torch.manual_seed(0)
    sizes = BilstmConfig(
        vocab_size=ENTRIES,
        embedding_size=WIDTH,
        hidden_size=HIDDEN,
        num_layers=2,
        head_size=5,
        num_labels=CLASSES,
        pad_token_id=PAD,
        dropout=dropout,
        head=head,
    )
    return Bilstm(sizes).eval()


def padded(ids: list[int], *, left: int = 0, right: int = 0, segments: list[int] | None = None) -> dict[str, Tensor]:
    told = segments or [0] * len(QUESTION) + [1] * (len(ids) - len(QUESTION))
    rows = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": told[: len(ids)]}
    return {name: torch.tensor([[0] * left + row + [0] * right]) for name, row in rows.items()}


def shown(made: Bilstm, arrays: dict[str, Tensor]) -> Tensor:
    """What a model says of each token, [B, S, C]."""
    said = made(**{name: arrays[name] for name in made.input_names})
    return torch.stack([getattr(said, name) for name in OUTPUTS["span"]], -1) if made.pair else said.logits


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 9), (1, 0), (9, 0)])
def test_padding_on_either_side_changes_no_token(head: Any, left: int, right: int) -> None:
    made, ids = model(head), QUESTION + CONTEXT

    bare, filled = shown(made, padded(ids)), shown(made, padded(ids, left=left, right=right))

    assert_close(filled[:, left : left + len(ids)], bare)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_longer_mates_in_the_batch_change_no_token(head: Any, side: str) -> None:
    made, texts = model(head), [[7], QUESTION + CONTEXT[:2], QUESTION + CONTEXT]
    rows = [padded(ids, **{side: 9 - len(ids)}) for ids in texts]  # type: ignore[arg-type]

    together = shown(made, {name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    for ids, row, found in zip(texts, rows, together, strict=True):
        assert_close(found[row["attention_mask"][0] == 1], shown(made, padded(ids))[0])


@pytest.mark.parametrize("head", HEADS)
def test_rows_of_padding_or_of_one_text_alone_are_answered(head: Any) -> None:
    made, nothing = model(head), torch.zeros(1, 4, dtype=torch.long)
    alone = padded([5, 6], segments=[1, 1], right=3)

    assert shown(made, dict.fromkeys(made.input_names, nothing)).isfinite().all()
    assert_close(shown(made, alone)[:, :2], shown(made, padded([5, 6], segments=[1, 1])))


@pytest.mark.parametrize("head", HEADS)
def test_a_graph_says_the_same_and_runs_in_int8(head: Any, tmp_path: Path) -> None:
    made = model(head)

    check_parity(made, tmp_path / "model.onnx", level=head, outputs=OUTPUTS[head])
    found = check_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", inputs=made.input_names)

    assert found["LSTM"] == 2
    assert found["MatMul"] == (1 if head == "token" else 2)  # the product of so few classes stays in fp32
    assert found["embedding tables"] >= 1


@pytest.mark.parametrize("head", ["text", *HEADS])
def test_a_gradient_reaches_every_parameter(head: Any) -> None:
    made = model(head, dropout=0.0).train()
    arrays = padded(QUESTION + CONTEXT, right=2)
    weights = torch.arange(1.0, 1 + shown(made, arrays).shape[-1])

    assert without_gradient(made, (shown(made, arrays) * weights).sum()) == []


def test_tokens_have_the_classes_and_spans_two_ends() -> None:
    arrays = padded(QUESTION + CONTEXT)

    assert shown(model("token"), arrays).shape == (1, 9, CLASSES)
    assert shown(model("span"), arrays).shape == (1, 9, 2)


def test_logits_of_a_token_are_the_formula() -> None:
    made, arrays = model("token"), padded([5, 4, 3], right=1)
    said = made(arrays["input_ids"], arrays["attention_mask"])
    state = said.hidden_states[1][0, 1]  # [2H] of the second token

    hidden = (made.head.weight @ state + made.head.bias).clamp(min=0)

    assert_close(said.logits[0, 1], made.classifier.weight @ hidden + made.classifier.bias)


def test_logits_of_a_span_are_the_formula() -> None:
    made, arrays = model("span"), padded(QUESTION + CONTEXT, left=2, right=0)
    said = made(**arrays)
    states = said.hidden_states[1][0]  # [S, 2H]
    own, asked = states[7], states[2 : 2 + len(QUESTION)]

    seen = torch.softmax(asked @ own / (2 * HIDDEN) ** 0.5, dim=0) @ asked
    hidden = (made.head.weight @ torch.cat([own, seen, own * seen]) + made.head.bias).clamp(min=0)

    expected = made.classifier.weight @ hidden + made.classifier.bias
    assert_close(torch.stack([said.start_logits[0, 7], said.end_logits[0, 7]]), expected)


def test_a_token_is_told_its_text_and_whether_the_other_has_it() -> None:
    features = PairFeatures(4)
    arrays = padded([5, 6, 6, 0, 6, 5, 9], segments=[0, 0, 0, 0, 1, 1, 1], right=2)
    segments, shared = features.segments.weight, features.shared.weight

    found = features(arrays["input_ids"], arrays["attention_mask"], arrays["token_type_ids"])[0]

    # The fourth token has the id of padding, which stands in neither text.
    assert_close(found[:4], segments[0] + shared[torch.tensor([1, 1, 1, 0])])
    assert_close(found[4:7], segments[1] + shared[torch.tensor([1, 1, 0])])


def test_another_question_gives_another_span() -> None:
    made = model("span")
    first, second = (shown(made, padded([2, word, 8, 3, *CONTEXT]))[0, 4:] for word in (7, 6))

    assert not torch.allclose(first, second)


def test_spans_without_segments_are_refused() -> None:
    arrays = padded(QUESTION)

    with pytest.raises(ValueError, match="needs token_type_ids"):
        model("span")(arrays["input_ids"], arrays["attention_mask"])


def test_each_head_says_what_it_takes() -> None:
    both = ("input_ids", "attention_mask")

    assert [model(head).input_names for head in ("text", "token", "span")] == [both, both, (*both, "token_type_ids")]


def test_the_head_for_texts_has_the_weights_it_always_had() -> None:
    made = model("text").state_dict()
    torch.manual_seed(0)
    parts = {
        "embedding": nn.Embedding(ENTRIES, WIDTH, padding_idx=PAD),
        "lstm": nn.LSTM(WIDTH, HIDDEN, num_layers=2, bidirectional=True),
        "head": nn.Linear(4 * HIDDEN, 5),
        "classifier": nn.Linear(5, CLASSES),
    }
    expected = {f"{part}.{name}": value for part, one in parts.items() for name, value in one.state_dict().items()}

    assert list(made) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in made.items())
