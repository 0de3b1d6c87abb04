"""The BiLSTM student: blind to padding, and where its word vectors start."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.students.build import build_student
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import BilstmStudent
from tests import tiny

PAD = 0


@pytest.fixture(scope="module")
def model() -> Bilstm:
    torch.manual_seed(0)
    sizes = BilstmConfig(
        vocab_size=50, embedding_size=8, hidden_size=6, num_layers=2, head_size=5, num_labels=3, pad_token_id=PAD
    )
    return Bilstm(sizes).eval()


@pytest.fixture(scope="module")
def teacher(checkpoint: Path) -> nn.Module:
    return load_model(checkpoint)


def build(checkpoint: Path, teacher: nn.Module, *, seed: int = 0, **settings: Any) -> Bilstm:
    chosen = BilstmStudent(architecture="bilstm", hidden_size=8, head_size=8, **settings)
    built = build_student(chosen, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=seed)
    assert isinstance(built, Bilstm)
    return built


def padded(ids: list[int], *, left: int = 0, right: int = 0) -> tuple[Tensor, Tensor]:
    row = torch.tensor([[PAD] * left + ids + [PAD] * right])
    mask = torch.tensor([[0] * left + [1] * len(ids) + [0] * right])
    return row, mask


@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 9), (1, 0), (9, 0)])
@pytest.mark.parametrize("ids", [[7], [7, 8, 9], [5, 4, 3, 2, 1, 9, 9]])
def test_padding_on_either_side_changes_nothing(model: Bilstm, ids: list[int], left: int, right: int) -> None:
    bare, filled = model(*padded(ids)).logits, model(*padded(ids, left=left, right=right)).logits

    assert_close(filled, bare)


@pytest.mark.parametrize("side", ["left", "right"])
def test_longer_mates_in_the_batch_change_nothing(model: Bilstm, side: str) -> None:
    texts = [[7], [5, 4, 3, 2], [9, 8, 7, 6, 5, 4]]
    rows = [padded(ids, **{side: 6 - len(ids)}) for ids in texts]

    together = model(torch.cat([ids for ids, _ in rows]), torch.cat([mask for _, mask in rows])).logits

    alone = torch.cat([model(*padded(ids)).logits for ids in texts])
    assert_close(together, alone)


def test_order_and_every_token_count(model: Bilstm) -> None:
    first = model(*padded([5, 4, 3])).logits

    assert not torch.allclose(first, model(*padded([3, 4, 5])).logits)
    assert not torch.allclose(first, model(*padded([5, 4])).logits)


def test_a_row_of_padding_alone_is_answered(model: Bilstm) -> None:
    logits = model(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long)).logits

    assert torch.isfinite(logits).all()


def test_word_vectors_start_from_the_teachers(checkpoint: Path, teacher: Any) -> None:
    student = build(checkpoint, teacher)

    assert torch.equal(student.embedding.weight, teacher.get_input_embeddings().weight)
    assert student.embedding.weight is not teacher.get_input_embeddings().weight


def test_word_vectors_of_a_bilstm_teacher_are_taken_too(bilstm_bundle: Any) -> None:
    teacher = load_model(bilstm_bundle.path)
    assert isinstance(teacher, Bilstm)

    assert torch.equal(build(bilstm_bundle.path, teacher).embedding.weight, teacher.embedding.weight)


def test_a_narrower_table_keeps_the_distances_best(checkpoint: Path, teacher: Any) -> None:
    vectors = teacher.get_input_embeddings().weight.detach()
    narrow = build(checkpoint, teacher, embedding_size=8).embedding.weight.detach()
    torch.manual_seed(0)
    anywhere, _ = torch.linalg.qr(torch.randn(vectors.shape[1], 8))

    full, kept, lost = (torch.cdist(one, one) for one in (vectors, narrow, vectors @ anywhere))

    # On the principal directions no distance grows, and more of all squared distances is left than on any others.
    assert (kept <= full + 1e-4).all()
    assert kept.square().sum() > lost.square().sum()
    singular = torch.linalg.svdvals(vectors - vectors.mean(dim=0))
    assert_close(torch.linalg.svdvals(narrow), singular[:8], rtol=1e-3, atol=1e-4)


def test_a_narrow_enough_space_is_kept_whole(checkpoint: Path, teacher: Any) -> None:
    table = teacher.get_input_embeddings()
    before = table.weight.detach().clone()
    flat = torch.randn(before.shape[0], 4) @ torch.randn(4, before.shape[1])
    try:
        table.weight.data.copy_(flat)
        narrow = build(checkpoint, teacher, embedding_size=4).embedding.weight.detach()
    finally:
        table.weight.data.copy_(before)

    assert_close(torch.cdist(narrow, narrow), torch.cdist(flat, flat), rtol=1e-2, atol=5e-2)


def test_a_wider_table_than_the_teachers_is_refused(checkpoint: Path, teacher: nn.Module) -> None:
    with pytest.raises(RecipeError, match="embedding_size 33 is more than the teacher's 32"):
        build(checkpoint, teacher, embedding_size=33)

    assert build(checkpoint, teacher, embedding_size=33, init="random").embedding.weight.shape[1] == 33


def test_the_same_seed_gives_the_same_weights(checkpoint: Path, teacher: nn.Module) -> None:
    first, again, other = (build(checkpoint, teacher, seed=seed).state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])
