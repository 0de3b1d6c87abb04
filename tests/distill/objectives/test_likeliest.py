"""The likeliest entries and the mass of the rest: a distribution of its own, near to the whole one."""

import pytest
import torch
from torch.testing import assert_close

from kd_deploy.distill.objectives.likeliest import among, likeliest
from kd_deploy.distill.objectives.logits import reverse_kl, soft_target_kl

VOCABULARY = 50


def drawn(seed: int, *, rows: int = 6, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 7, VOCABULARY - 1])
def test_the_rest_has_the_mass_that_is_left(count: int) -> None:
    teacher = drawn(1)

    shares, entries = likeliest(teacher, count=count)

    whole = teacher.softmax(dim=-1)
    wanted, places = whole.sort(dim=-1, descending=True)
    assert_close(shares[:, :-1].exp(), wanted[:, :count])
    assert_close(shares[:, -1].exp(), wanted[:, count:].sum(dim=-1), atol=2e-6, rtol=1e-4)
    assert torch.equal(entries, places[:, :count])


def test_a_student_is_seen_as_its_teacher_is() -> None:
    teacher = drawn(1)
    shares, entries = likeliest(teacher, count=7)

    assert_close(among(teacher, entries), shares, atol=1e-4, rtol=1e-4)
    assert_close(among(teacher + 5, entries), shares, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("divergence", [soft_target_kl, reverse_kl])
def test_with_all_entries_but_one_it_is_the_whole_divergence(divergence: object) -> None:
    student, teacher = drawn(0, spread=1.0).requires_grad_(), drawn(1, spread=1.0)
    shares, entries = likeliest(teacher, count=VOCABULARY - 1)

    loss = divergence(among(student, entries), shares, temperature=1.0)  # type: ignore[operator]
    whole = divergence(student, teacher, temperature=1.0)  # type: ignore[operator]

    assert_close(loss, whole, atol=1e-4, rtol=1e-3)
    (found,), (wanted,) = (torch.autograd.grad(one, student) for one in (loss, whole))
    assert_close(found, wanted, atol=1e-4, rtol=1e-2)


def test_more_entries_come_nearer_to_the_whole_divergence_from_below() -> None:
    student, teacher = drawn(0), drawn(1)
    losses = []
    for count in (1, 2, 4, 8, 16, 32):
        shares, entries = likeliest(teacher, count=count)
        losses.append(float(soft_target_kl(among(student, entries), shares, temperature=1.0)))

    assert losses == sorted(losses)
    assert losses[0] > 0
    assert losses[-1] <= float(soft_target_kl(student, teacher, temperature=1.0)) + 1e-5


def test_a_student_that_says_the_same_has_nothing_to_learn() -> None:
    student = drawn(1).requires_grad_()
    shares, entries = likeliest(drawn(1), count=5)

    loss = soft_target_kl(among(student, entries), shares, temperature=1.0)
    loss.backward()

    assert abs(float(loss.detach())) < 1e-6
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-5


def test_a_teacher_that_is_sure_leaves_a_finite_rest() -> None:
    sure = torch.zeros(2, VOCABULARY)
    sure[:, 3] = 200.0
    student = drawn(0, rows=2).requires_grad_()
    shares, entries = likeliest(sure, count=4)

    loss = soft_target_kl(among(student.to(torch.bfloat16), entries), shares.half(), temperature=1.0)
    loss.backward()

    assert shares.half().isfinite().all()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
