"""The plain losses against the teacher's logits, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.logits import (
    decoupled,
    logit_mse,
    reverse_kl,
    soft_target_kl,
    standardise,
    yes_or_no,
)
from kd_deploy.errors import ShapeError
from tests.distill.objectives.by_hand import bernoulli, kl, logits, softmax

TARGETS = torch.tensor([0, 3, 1, 1, 2, 0])
every_temperature = pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])


@every_temperature
def test_kl_is_its_formula(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = soft_target_kl(student, teacher, temperature=temperature)

    q, p = softmax(student, temperature=temperature), softmax(teacher, temperature=temperature)
    assert loss.item() == pytest.approx(temperature**2 * kl(p, q).mean(), rel=1e-4)


@every_temperature
def test_reverse_kl_is_its_formula(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = reverse_kl(student, teacher, temperature=temperature)

    q, p = softmax(student, temperature=temperature), softmax(teacher, temperature=temperature)
    assert loss.item() == pytest.approx(temperature**2 * kl(q, p).mean(), rel=1e-4)


@every_temperature
def test_kl_over_several_labels_is_its_formula(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = soft_target_kl(yes_or_no(student), yes_or_no(teacher), temperature=temperature)

    q, p = bernoulli(student, temperature=temperature), bernoulli(teacher, temperature=temperature)
    assert loss.item() == pytest.approx(temperature**2 * kl(p, q).mean(), rel=1e-4)


def test_mse_is_its_formula() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])

    assert logit_mse(student, teacher).item() == pytest.approx((1 + 0 + 0 + 9) / 4)
    assert logit_mse(student, teacher, weights=torch.tensor([3.0, 1.0])).item() == pytest.approx((3 * 0.5 + 4.5) / 4)


def test_mse_is_the_mean_over_the_middle_axes() -> None:
    student, teacher = logits(0), logits(1)

    assert_close(logit_mse(student.reshape(3, 2, 4), teacher.reshape(3, 2, 4)), logit_mse(student, teacher))


def test_yes_or_no_is_the_sigmoid() -> None:
    questions = yes_or_no(logits(0))

    assert questions.shape == (6, 4, 2)
    assert_close(questions.softmax(dim=-1)[..., 0], logits(0).sigmoid())


def decoupled_by_hand(student: Tensor, teacher: Tensor, *, alpha: float, beta: float) -> float:
    total = 0.0
    for q, p, target in zip(softmax(student, temperature=2), softmax(teacher, temperature=2), TARGETS, strict=True):
        others = np.arange(4) != target.item()
        p_answer, q_answer = (np.array([[r[~others].sum(), r[others].sum()]]) for r in (p, q))
        p_others, q_others = (np.array([r[others] / r[others].sum()]) for r in (p, q))
        total += alpha * kl(p_answer, q_answer).item() + beta * kl(p_others, q_others).item()
    return 4 * total / 6


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_decoupled_is_its_formula(alpha: float, beta: float) -> None:
    loss = decoupled(logits(0), logits(1), targets=TARGETS, alpha=alpha, beta=beta)

    assert loss.item() == pytest.approx(decoupled_by_hand(logits(0), logits(1), alpha=alpha, beta=beta), rel=1e-4)


def test_decoupled_is_kl_when_the_others_count_by_their_probability() -> None:
    student, teacher = logits(0), logits(1)
    of_target = (teacher / 2).softmax(dim=-1).gather(-1, TARGETS[:, None]).squeeze(-1)  # [6]

    rows = [
        decoupled(student[[row]], teacher[[row]], targets=TARGETS[[row]], beta=1 - of_target[row].item())
        for row in range(6)
    ]

    assert_close(torch.stack(rows).mean(), soft_target_kl(student, teacher, temperature=2.0))


def test_decoupled_has_nothing_to_say_of_the_other_class_of_two() -> None:
    student, teacher, targets = logits(0, classes=2), logits(1, classes=2), TARGETS % 2

    loss = decoupled(student, teacher, targets=targets, beta=100.0)

    assert_close(loss, soft_target_kl(student, teacher))


def test_decoupled_still_compares_the_others_when_the_teacher_is_certain() -> None:
    student, teacher = torch.tensor([[60.0, 1.0, 2.0, 3.0]]), torch.tensor([[80.0, 3.0, 1.0, 2.0]])

    loss = decoupled(student, teacher, targets=torch.tensor([0]), alpha=0.0, beta=1.0, temperature=1.0)

    assert soft_target_kl(student, teacher, temperature=1.0).item() < 1e-6
    assert loss.item() == pytest.approx(kl(softmax(teacher[:, 1:]), softmax(student[:, 1:])).item(), rel=1e-4)


def test_decoupled_takes_a_target_for_each_position() -> None:
    student, teacher = logits(0), logits(1)

    apart = decoupled(student, teacher, targets=TARGETS)
    together = decoupled(student.reshape(3, 2, 4), teacher.reshape(3, 2, 4), targets=TARGETS.reshape(3, 2))

    assert_close(together, 2 * apart)


@pytest.mark.parametrize("targets", [torch.zeros(5, dtype=torch.int64), torch.zeros(6, 4)])
def test_decoupled_needs_one_target_for_each_row(targets: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"targets are .*logits are \[6, 4\]"):
        decoupled(logits(0), logits(1), targets=targets)


def test_decoupled_needs_two_classes() -> None:
    with pytest.raises(ShapeError, match=r"logits are \[6, 1\]"):
        decoupled(logits(0, classes=1), logits(1, classes=1), targets=torch.zeros(6, dtype=torch.int64))


def test_standardised_logits_are_z_scores() -> None:
    values = logits(0).double().numpy()

    found = standardise(logits(0))

    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), z, rtol=1e-4, atol=1e-5)


def test_the_size_of_standardised_logits_does_not_matter() -> None:
    teacher = logits(0)
    sizes = torch.tensor([0.5, 1.0, 2.0, 3.0, 10.0, 100.0])[:, None]

    loss = soft_target_kl(standardise(sizes * teacher + sizes), standardise(teacher), temperature=1.0)

    assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [500.0, 500.0, 500.0], [500.0, -500.0, 500.0]])
def test_standardised_logits_are_finite_and_have_a_finite_gradient(row: list[float]) -> None:
    student = torch.tensor([row]).bfloat16().requires_grad_()

    found = standardise(student)
    soft_target_kl(found, standardise(logits(0, rows=1, classes=3))).backward()

    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_equal_logits_have_z_scores_of_zero() -> None:
    assert_close(standardise(torch.full((2, 3), 7.0)), torch.zeros(2, 3))


def test_two_classes_have_nothing_to_standardise() -> None:
    with pytest.raises(ShapeError, match=r"\[6, 4, 2\].*2 classes"):
        standardise(yes_or_no(logits(0)))
