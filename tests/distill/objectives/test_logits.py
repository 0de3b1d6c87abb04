"""The losses against the teacher's logits: by hand, and by what must hold for any logits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.logits import logit_mse, soft_target_bernoulli_kl, soft_target_kl
from kd_deploy.errors import ShapeError

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "kl": soft_target_kl,
    "kl at 0.5": lambda student, teacher: soft_target_kl(student, teacher, temperature=0.5),
    "kl at 1": lambda student, teacher: soft_target_kl(student, teacher, temperature=1.0),
    "bernoulli kl": soft_target_bernoulli_kl,
    "mse": logit_mse,
}


@pytest.fixture(params=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def logits(seed: int, *, rows: int = 6, classes: int = 4) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(values)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_kl_is_its_formula(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = soft_target_kl(student, teacher, temperature=temperature)

    q, p = softmax(student.double().numpy() / temperature), softmax(teacher.double().numpy() / temperature)
    assert loss.item() == pytest.approx(temperature**2 * (p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_bernoulli_kl_is_its_formula(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = soft_target_bernoulli_kl(student, teacher, temperature=temperature)

    q, p = sigmoid(student.double().numpy() / temperature), sigmoid(teacher.double().numpy() / temperature)
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert loss.item() == pytest.approx(temperature**2 * kl.sum(axis=1).mean(), rel=1e-4)


def test_mse_is_its_formula() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])

    assert logit_mse(student, teacher).item() == pytest.approx((1 + 0 + 0 + 9) / 4)


def test_two_classes_as_one_yes_or_no_question() -> None:
    student, teacher = logits(0, classes=1), logits(1, classes=1)
    zeros = torch.zeros_like(student)

    softmax_kl = soft_target_kl(torch.cat([student, zeros], 1), torch.cat([teacher, zeros], 1), temperature=2.0)

    assert_close(soft_target_bernoulli_kl(student, teacher, temperature=2.0), softmax_kl)


def test_every_loss_is_zero_at_identity(loss: Loss) -> None:
    assert_close(loss(logits(0), logits(0)), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_every_loss_is_above_zero_elsewhere(loss: Loss) -> None:
    assert loss(logits(0), logits(1)).item() > 0.1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_zero_when_student_equals_teacher_up_to_a_constant(temperature: float) -> None:
    teacher = logits(0)

    loss = soft_target_kl(teacher + 3.0, teacher, temperature=temperature)

    assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("other", [soft_target_bernoulli_kl, logit_mse])
def test_the_others_see_a_constant(other: Loss) -> None:
    assert other(logits(0) + 3.0, logits(0)).item() > 0.1


def test_no_gradient_reaches_the_teacher(loss: Loss) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()

    loss(student, teacher).backward()

    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_a_step_down_the_gradient_comes_closer(loss: Loss) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1)
    before = loss(student, teacher)
    before.backward()

    assert student.grad is not None
    assert loss(student - 0.05 * student.grad, teacher) < before


def test_it_is_the_mean_over_the_batch(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    assert_close(loss(student.repeat(3, 1), teacher.repeat(3, 1)), loss(student, teacher))
    assert_close(
        loss(student, teacher),
        torch.stack([loss(s[None], t[None]) for s, t in zip(student, teacher, strict=True)]).mean(),
    )


@pytest.mark.parametrize("size", [1.0, 60.0, 1000.0])
def test_it_is_finite_in_bfloat16_and_given_in_float32(loss: Loss, size: float) -> None:
    student = (size * logits(0)).bfloat16().requires_grad_()

    found = loss(student, (size * logits(1)).bfloat16())
    found.backward()

    assert found.dtype == torch.float32
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("kl", [soft_target_kl, soft_target_bernoulli_kl])
def test_the_gradient_keeps_its_size_when_the_temperature_rises(kl: Callable[..., Tensor]) -> None:
    teacher = logits(1)

    def gradient(temperature: float) -> Tensor:
        student = logits(0).requires_grad_()
        kl(student, teacher, temperature=temperature).backward()
        assert student.grad is not None
        return student.grad

    # In the limit both distributions are linear in the logits, and temperature² cancels the two divisions.
    assert_close(gradient(1e2), gradient(4e2), rtol=0.1, atol=1e-3)
    assert gradient(1e2).norm() > 0.1 * gradient(1.0).norm()


@pytest.mark.parametrize("shape", [(6, 3), (5, 4), (6, 4, 1), (4,)])
def test_two_shapes_that_differ_are_named(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\[6, 4\].*" + str(list(shape)).replace("[", r"\[")):
        loss(logits(0), torch.zeros(shape))
