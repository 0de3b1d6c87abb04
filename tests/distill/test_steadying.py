"""Perturbed word vectors and two passes that must agree."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import BartConfig, BartForSequenceClassification

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.learner import Learner
from kd_deploy.distill.objectives.logits import soft_target_kl, yes_or_no
from kd_deploy.distill.observe import shape_of, word_vectors
from kd_deploy.distill.steadying import Vectors, disagreement
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.terms import labels_alone
from kd_deploy.distill.word_table import word_table
from tests import tiny

IDS = torch.tensor([[2, 9, 10, 3], [2, 11, 3, 0]])
BATCH = {
    "input_ids": IDS,
    "attention_mask": (IDS > 0).long(),
    "token_type_ids": torch.zeros_like(IDS),
    "targets": torch.tensor([0, 1]),
}


@pytest.fixture(params=["transformer", "shared table", "bilstm"])
def model(request: pytest.FixtureRequest, checkpoint: Path) -> nn.Module:
    teacher = load_model(checkpoint)
    if request.param == "shared table":
        return bart()
    if request.param == "transformer":
        return teacher
    return build_student(tiny.BILSTM, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0).eval()


def bart() -> nn.Module:
    """Its encoder and its decoder look into one table, each by a module of its own."""
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 16}
    config = BartConfig(vocab_size=16, num_labels=2, **ends, **heads, **sizes)
    return cast("nn.Module", BartForSequenceClassification(config).eval())


def lengths(shifts: Sequence[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.cat([one.flatten(1) for one in shifts], dim=1), dim=1)


def loss_of(model: nn.Module, shifts: Sequence[Tensor] = ()) -> tuple[Tensor, Vectors]:
    vectors = Vectors(shifts)
    with vectors.of(model):
        loss: Tensor = Learner(model, labels_alone())(BATCH)
    return loss, vectors


def test_the_worst_step_is_worse_than_any_other_of_its_length(model: nn.Module) -> None:
    plain, vectors = loss_of(model)
    worst = vectors.worst_shift(plain, size=0.01)

    assert_close(lengths(worst), torch.full((2,), 0.01))
    raised = loss_of(model, worst)[0]
    assert raised > plain
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        others = [torch.randn(one.shape, generator=generator) for one in worst]
        others = [0.01 * one / lengths(others)[:, None, None] for one in others]
        assert loss_of(model, others)[0] < raised


def test_fgm_adds_the_loss_after_the_worst_step(model: nn.Module) -> None:
    plain, vectors = loss_of(model)
    raised, _ = loss_of(model, vectors.worst_shift(plain, size=0.5))

    both = Learner(model, labels_alone(), fgm=0.5)(BATCH)

    assert_close(both, plain + raised)
    both.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_r_drop_takes_nothing_of_what_fgm_adds(model: nn.Module) -> None:
    alone = Learner(model, labels_alone(), fgm=0.5)(BATCH)  # without dropout two passes agree

    assert_close(Learner(model, labels_alone(), fgm=0.5, r_drop=1.0)(BATCH), alone)


def test_without_dropout_two_passes_agree(model: nn.Module) -> None:
    assert_close(Learner(model, labels_alone(), r_drop=3.0)(BATCH), loss_of(model)[0])


def test_r_drop_is_felt_under_dropout(model: nn.Module) -> None:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    losses = []
    for weight in (1e-9, 5.0):
        torch.manual_seed(0)
        losses.append(Learner(model, labels_alone(), r_drop=weight)(BATCH))

    assert losses[1] > losses[0]


@pytest.mark.parametrize("several", [True, False])
def test_disagreement_is_half_of_kl_both_ways(several: bool) -> None:
    first, second = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))

    p, q = (yes_or_no(first), yes_or_no(second)) if several else (first, second)
    by_hand = (soft_target_kl(p, q, temperature=1.0) + soft_target_kl(q, p, temperature=1.0)) / 2
    assert_close(disagreement(first, second, several=several), by_hand)
    assert disagreement(first, first, several=several).item() == 0


def test_both_passes_feel_the_disagreement() -> None:
    first, second = (torch.randn(4, 3, requires_grad=True) for _ in range(2))

    disagreement(first, second, several=False).backward()

    assert first.grad is not None
    assert second.grad is not None


def test_nothing_is_left_hanging_on_the_model(model: nn.Module) -> None:
    Learner(model, labels_alone(), fgm=1.0, r_drop=1.0)(BATCH)

    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_vectors_are_moved_too(model: nn.Module) -> None:
    with word_table(model, "frozen", heard=True):
        Learner(model, labels_alone(), fgm=0.5)(BATCH).backward()

        assert word_vectors(model).weight.grad is None


def test_an_encoder_decoder_shows_no_attention_of_the_kind_that_is_compared() -> None:
    assert shape_of(bart()).heads is None
