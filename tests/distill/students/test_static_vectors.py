"""The static student of sentence embeddings: its vector by hand, blind to padding, the same as a graph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.checkpoints import load_model, save_model
from kd_deploy.distill.students.entries import with_entries
from kd_deploy.distill.students.static import Static, StaticConfig, folded
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.tasks.task import LabelSpace
from tests.distill.students.exported import ENTRIES, check_int8, check_parity, without_gradient

PAD = 0


def model(left_out: Sequence[int] = ()) -> Static:
    torch.manual_seed(0)
    sizes = StaticConfig(
        vocab_size=ENTRIES,
        embedding_size=8,
        head_size=5,
        num_labels=3,
        pad_token_id=PAD,
        bigrams=16,
        head="vector",
        left_out=left_out,
    )
    made = Static(sizes)
    with torch.no_grad():
        made.weight.weight += torch.randn(ENTRIES, 1)
    return made.train()  # nothing in it is left out at random


def padded(ids: list[int], *, left: int = 0, right: int = 0) -> dict[str, Tensor]:
    rows = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    return {name: torch.tensor([[0] * left + row + [0] * right]) for name, row in rows.items()}


def test_a_vector_is_the_formula() -> None:
    made, ids = model(), [7, 8, 9, 7]
    table, weights = (one.detach().numpy() for one in (made.embedding.weight, made.weight.weight))
    mean = (np.exp(weights[ids]) * table[ids]).sum(axis=0) / np.exp(weights[ids]).sum()

    shown = made(**padded(ids, right=2))

    assert_close(shown.sentence_embedding[0].detach().numpy(), mean / np.linalg.norm(mean), atol=1e-6, rtol=1e-5)
    assert shown.logits is shown.sentence_embedding
    assert torch.equal(shown.hidden_states[0], made.embedding(padded(ids, right=2)["input_ids"]))


def test_the_mean_of_its_states_normalised_is_its_vector() -> None:
    arrays = padded([5, 4, 3], left=2)

    shown = model()(**arrays)

    inside = arrays["attention_mask"][:, :, None]
    mean = (shown.last_hidden_state * inside).sum(dim=1) / inside.sum(dim=1)
    assert_close(F.normalize(mean, dim=-1), shown.sentence_embedding)


@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 9), (1, 0), (9, 0)])
@pytest.mark.parametrize("ids", [[7], [5, 4, 3, 2, 1, 9, 9]])
def test_padding_on_either_side_changes_nothing(ids: list[int], left: int, right: int) -> None:
    made = model()

    assert_close(made(**padded(ids, left=left, right=right)).logits, made(**padded(ids)).logits)


def test_a_row_of_padding_alone_has_a_vector() -> None:
    nothing = torch.zeros(1, 4, dtype=torch.long)

    assert model()(nothing, nothing).logits.isfinite().all()


def test_it_has_no_parameter_that_it_does_not_need() -> None:
    made = model()

    assert set(made.state_dict()) == {"embedding.weight", "weight.weight"}
    assert without_gradient(made, made(**padded([5, 4, 3])).logits[:, 0].sum()) == []


def test_what_is_left_out_counts_for_nothing_whatever_is_learned() -> None:
    made = model(left_out=(2, 3))
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1)

    for _ in range(3):
        made(**padded([2, 5, 4, 3])).logits[:, 0].sum().backward()
        optimizer.step()

    assert_close(made(**padded([2, 5, 4, 3])).logits, made(**padded([5, 4])).logits)


def test_folded_it_gives_the_same_vectors_and_its_table_is_a_plain_bag() -> None:
    made, again = model(left_out=(2, 3)), model(left_out=(2, 3))

    again.load_state_dict(folded(made))

    ids = [2, 7, 8, 9, 7, 3]
    assert_close(again(**padded(ids)).logits, made(**padded(ids)).logits)
    bag = torch.nn.EmbeddingBag.from_pretrained(again.embedding.weight)(torch.tensor([ids[1:-1]]))
    assert_close(F.normalize(bag), made(**padded(ids)).logits)
    assert_close(again(**padded([2, 3])).logits.norm(), torch.tensor(1.0))  # a text without a token has a vector too
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in folded(again).items())


def test_fewer_entries_leave_out_the_same_tokens() -> None:
    whole = model(left_out=(3, 7))

    smaller = with_entries(whole, np.array([0, 3, 7, 9]))

    assert smaller.sizes.left_out == (1, 2)
    assert_close(smaller(**padded([1, 3, 2])).logits, whole(**padded([3, 9, 7])).logits)


def test_fewer_entries_keep_their_vectors_and_weights() -> None:
    whole = model()

    smaller = with_entries(whole, np.array([0, 3, 7, 9]))

    assert_close(smaller(**padded([1, 2, 3])).logits, whole(**padded([3, 7, 9])).logits)


def test_a_graph_gives_the_same_vectors_and_runs_in_int8(tmp_path: Path) -> None:
    made = model().eval()

    check_parity(made, tmp_path / "model.onnx", level="text", outputs=("sentence_embedding",))
    found = check_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", inputs=made.input_names)

    assert found["embedding tables"] >= 1


@pytest.mark.parametrize("counts_them", [False, True])
def test_only_what_is_a_plain_bag_is_said_to_be_one(checkpoint: Path, tmp_path: Path, counts_them: bool) -> None:
    around = open_encoder(checkpoint, max_length=8).encode("").ids
    sizes = StaticConfig(
        vocab_size=load_model(checkpoint).config.vocab_size,
        embedding_size=8,
        head_size=5,
        num_labels=0,
        pad_token_id=PAD,
        head="vector",
        left_out=() if counts_them else around,
    )
    labels = LabelSpace(task="sentence-embedding", names=(), problem_type="regression")

    save_model(Static(sizes), tmp_path, labels=labels, max_length=16, tokenizer_from=checkpoint)

    assert (tmp_path / "modules.json").is_file() is not counts_them
