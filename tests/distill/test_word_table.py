"""The optimiser of word vectors against AdamW, the cut of their gradients, and vectors that stay as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.observe import word_vectors
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.word_table import Embeddings, TableAdamW, clip, word_table
from kd_deploy.errors import TrainingError

VOCABULARY, WIDTH = 12, 5
SIZES = BilstmConfig(
    vocab_size=VOCABULARY, embedding_size=WIDTH, hidden_size=3, num_layers=1, head_size=4, num_labels=2, pad_token_id=0
)
IDS = torch.tensor([[1, 2]])
OPTIONS: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}


def model(*, sparse: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(VOCABULARY, WIDTH, sparse=sparse), nn.Linear(WIDTH, 1))


def table_of(one: nn.Module) -> Tensor:
    return next(one.parameters()).detach()


def walk(one: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Tensor]) -> nn.Module:
    for ids in batches:
        optimizer.zero_grad()
        (one(ids).exp().mean() + one(ids.flip(0)).square().sum()).backward()  # two passes, as under fgm
        clip(one.parameters(), largest=0.5)
        optimizer.step()
    return one


def some_rows(count: int) -> list[Tensor]:
    drawn = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCABULARY - 2, (4,), generator=drawn) for _ in range(count)]


def all_rows(count: int) -> list[Tensor]:
    return [torch.cat([torch.arange(VOCABULARY), batch]) for batch in some_rows(count)]


def test_sparse_gradients_make_the_steps_of_dense_ones() -> None:
    dense, sparse = model(sparse=False), model(sparse=True)

    walk(dense, torch.optim.AdamW(dense.parameters(), **OPTIONS), some_rows(20))
    walk(sparse, TableAdamW(sparse.parameters(), **OPTIONS, fused=True), some_rows(20))

    for left, right in zip(dense.parameters(), sparse.parameters(), strict=True):
        assert_close(left, right, atol=1e-6, rtol=0)


def test_row_by_row_is_adamw_where_every_row_occurs() -> None:
    dense, sparse = model(sparse=False), model(sparse=True)

    walk(dense, torch.optim.AdamW(dense.parameters(), **OPTIONS), all_rows(20))
    walk(sparse, TableAdamW(sparse.parameters(), **OPTIONS, fused=True, row_by_row=True), all_rows(20))

    for left, right in zip(dense.parameters(), sparse.parameters(), strict=True):
        assert_close(left, right, atol=1e-6, rtol=0)


def test_row_by_row_a_row_is_adamw_over_the_steps_in_which_it_occurs() -> None:
    often, seldom = model(sparse=True), model(sparse=True)
    for one in (often, seldom):
        one[1].requires_grad_(False)
    late, others = torch.tensor([3]), torch.tensor([5, 6])

    walk(often, TableAdamW(often.parameters(), **OPTIONS, row_by_row=True), [late] * 2)
    walk(seldom, TableAdamW(seldom.parameters(), **OPTIONS, row_by_row=True), [others, late, others, others, late])

    assert_close(table_of(often)[3], table_of(seldom)[3])
    untouched = [0, 1, 2, 4, *range(7, VOCABULARY)]
    assert torch.equal(table_of(seldom)[untouched], table_of(model(sparse=True))[untouched])


def test_the_first_step_of_a_row_has_the_length_of_the_learning_rate() -> None:
    one = model(sparse=True)
    start = table_of(one).clone()
    optimizer = TableAdamW(one.parameters(), lr=0.01, weight_decay=0.0, row_by_row=True)

    walk(one, optimizer, [torch.tensor([5, 6])] * 50)
    walk(one, optimizer, [torch.tensor([3])])

    assert_close((table_of(one)[3] - start[3]).abs(), torch.full((WIDTH,), 0.01), atol=1e-5, rtol=0)


@pytest.mark.parametrize("row_by_row", [False, True])
def test_an_optimiser_goes_on_from_its_state(row_by_row: bool) -> None:
    whole, halves = model(sparse=True), model(sparse=True)
    options = {**OPTIONS, "row_by_row": row_by_row}
    walk(whole, TableAdamW(whole.parameters(), **options), some_rows(10))

    first = TableAdamW(halves.parameters(), **options)
    walk(halves, first, some_rows(10)[:4])
    second = TableAdamW(halves.parameters(), **options)
    second.load_state_dict(first.state_dict())
    walk(halves, second, some_rows(10)[4:])

    assert_close(table_of(whole), table_of(halves))


@pytest.mark.parametrize("largest", [0.01, 1e6])
def test_the_cut_is_that_of_torch(largest: float) -> None:
    ours, theirs = model(sparse=True), model(sparse=False)
    for one in (ours, theirs):
        one(torch.tensor([1, 2, 2, 7])).square().sum().backward()

    length = clip(ours.parameters(), largest=largest)

    assert_close(length, nn.utils.clip_grad_norm_(theirs.parameters(), largest))
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert left.grad is not None
        assert right.grad is not None
        assert_close(left.grad.to_dense(), right.grad)


def test_weights_without_a_gradient_are_passed_over() -> None:
    assert clip(model(sparse=False).parameters(), largest=1.0) == 0


def test_frozen_vectors_have_no_gradient_and_are_free_again_afterwards() -> None:
    student = Bilstm(SIZES)

    with word_table(student, "frozen"):
        student(IDS, torch.ones_like(IDS)).logits.sum().backward()
        assert student.embedding.weight.grad is None
        assert student.head.weight.grad is not None

    assert student.embedding.weight.requires_grad


@pytest.mark.parametrize("how", ["train", "sparse"])
def test_trained_vectors_have_gradients_of_the_rows_of_a_batch(how: Embeddings) -> None:
    student = Bilstm(SIZES)

    with word_table(student, how):
        student(IDS, torch.ones_like(IDS)).logits.sum().backward()

    assert student.embedding.weight.grad is not None
    assert student.embedding.weight.grad.coalesce().indices().tolist() == [[1, 2]]
    assert not student.embedding.sparse


def test_a_transformer_has_word_vectors_too(checkpoint: Path) -> None:
    bert = load_model(checkpoint)

    with word_table(bert, "train"):
        bert(input_ids=IDS).logits.sum().backward()

    gradient = word_vectors(bert).weight.grad
    assert gradient is not None
    assert gradient.is_sparse


def test_what_an_adapter_has_frozen_stays_frozen() -> None:
    student = Bilstm(SIZES)
    student.embedding.weight.requires_grad_(False)

    with word_table(student, "sparse"):
        assert not student.embedding.sparse

    assert not student.embedding.weight.requires_grad


def test_several_accelerators_cannot_sum_sparse_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(TrainingError, match="2 processes on accelerators") as caught:
        word_table(Bilstm(SIZES), "sparse").__enter__()
    assert "train" in caught.value.hint


@pytest.mark.parametrize(("processes", "sparse"), [("1", True), ("2", False)])
def test_a_table_that_the_head_shares_has_sparse_gradients_in_one_process_alone(
    monkeypatch: pytest.MonkeyPatch, processes: str, sparse: bool
) -> None:
    writer = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    monkeypatch.setenv("WORLD_SIZE", processes)

    with word_table(writer, "train"):
        assert word_vectors(writer).sparse is sparse
    if not sparse:
        with pytest.raises(TrainingError, match="2 processes and a head that shares"):
            word_table(writer, "sparse").__enter__()
