"""What every loss on logits has in common, whichever it is: the contract that an objective relies on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.divergences import alpha_beta, jensen_shannon, relational, skew_kl
from kd_deploy.distill.objectives.logits import decoupled, logit_mse, reverse_kl, soft_target_kl, yes_or_no
from kd_deploy.errors import ShapeError, TrainingError
from tests.distill.objectives.by_hand import logits

Loss = Callable[..., Tensor]


def decoupled_at_the_teachers_choice(student: Tensor, teacher: Tensor, **named: Any) -> Tensor:
    return decoupled(student, teacher, targets=teacher.argmax(dim=-1), **named)


DIVERGENCES: dict[str, Loss] = {
    "soft targets": soft_target_kl,
    "reverse kl": reverse_kl,
    "jensen-shannon": jensen_shannon,
    "jensen-shannon 0.1": partial(jensen_shannon, beta=0.1),
    "skew kl": skew_kl,
    "skew reverse kl": partial(skew_kl, direction="reverse"),
    "alpha-beta": alpha_beta,
    "alpha-beta 1, 0.3": partial(alpha_beta, alpha=1.0, beta=0.3),
    "alpha-beta 1, 0": partial(alpha_beta, alpha=1.0, beta=0.0),
    "alpha-beta 0, 1": partial(alpha_beta, alpha=0.0, beta=1.0),
    "decoupled": decoupled_at_the_teachers_choice,
}
SOFTENED = {**DIVERGENCES, "relational rows": partial(relational, gamma=0.0), "relational": relational}
BY_ROW = {**DIVERGENCES, "relational rows": partial(relational, gamma=0.0), "mse": logit_mse}
ALL = {**SOFTENED, "mse": logit_mse}

each = partial(pytest.mark.parametrize, "loss")
every_loss = each(ALL.values(), ids=ALL)
every_softened_loss = each(SOFTENED.values(), ids=SOFTENED)
every_divergence = each(DIVERGENCES.values(), ids=DIVERGENCES)
every_mean_of_rows = each(BY_ROW.values(), ids=BY_ROW)


def gradient(loss: Callable[[Tensor], Tensor], student: Tensor) -> Tensor:
    leaf = student.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    return found


@every_loss
def test_it_is_zero_at_identity_and_has_no_gradient_there(loss: Loss) -> None:
    teacher = logits(0)

    assert_close(loss(teacher, teacher), torch.tensor(0.0), atol=2e-6, rtol=0)
    assert_close(gradient(lambda student: loss(student, teacher), teacher), torch.zeros(6, 4), atol=2e-6, rtol=0)


@every_loss
def test_it_is_above_zero_elsewhere(loss: Loss) -> None:
    assert loss(logits(0), logits(1)).item() > 0.1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@every_softened_loss
def test_a_constant_added_to_a_row_changes_nothing(loss: Loss, temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    constants = torch.arange(6.0)[:, None] - 2

    moved = loss(student + constants, teacher - constants, temperature=temperature)

    assert_close(moved, loss(student, teacher, temperature=temperature), atol=1e-5, rtol=1e-4)


def test_the_squared_distance_and_yes_or_no_see_a_constant() -> None:
    assert logit_mse(logits(0) + 3.0, logits(0)).item() == pytest.approx(9)
    assert soft_target_kl(yes_or_no(logits(0) + 3.0), yes_or_no(logits(0))).item() > 0.1


@every_loss
def test_the_order_of_classes_and_of_examples_does_not_matter(loss: Loss) -> None:
    student, teacher, classes, rows = logits(0), logits(1), torch.tensor([2, 0, 3, 1]), torch.tensor([5, 3, 0, 1, 4, 2])

    assert_close(loss(student[rows][:, classes], teacher[rows][:, classes]), loss(student, teacher))


@every_softened_loss
def test_no_gradient_reaches_anything_but_the_student(loss: Loss) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    temperature, weights = torch.full((6,), 2.0, requires_grad=True), torch.ones(6, requires_grad=True)

    loss(student, teacher, temperature=temperature, weights=weights).backward()

    assert (teacher.grad, temperature.grad, weights.grad) == (None, None, None)
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_no_gradient_of_the_squared_distance_reaches_the_teacher() -> None:
    teacher = logits(1).requires_grad_()

    logit_mse(logits(0).requires_grad_(), teacher).backward()

    assert teacher.grad is None


@every_loss
def test_the_gradient_is_the_slope_of_the_loss(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)
    found = gradient(lambda values: loss(values, teacher), student)
    step = 0.02 * found / found.norm()

    slope = (loss(student + step, teacher) - loss(student - step, teacher)) / (2 * step.norm())

    assert_close(slope, found.norm(), rtol=0.01, atol=0)


@pytest.mark.parametrize("seed", [0, 2, 4])
@every_loss
def test_a_step_down_the_gradient_comes_closer(loss: Loss, seed: int) -> None:
    student, teacher = logits(seed), logits(seed + 1)

    step = 0.01 * gradient(lambda values: loss(values, teacher), student)

    assert loss(student - step, teacher) < loss(student, teacher)


@pytest.mark.parametrize("size", [1.0, 60.0, 500.0])
@pytest.mark.parametrize("several", [False, True])
@every_loss
def test_it_is_finite_in_bfloat16_and_given_in_float32(loss: Loss, size: float, *, several: bool) -> None:
    corners = torch.tensor(
        [[1.0, -1, -1, -1], [-1, 1, 1, -1], [0, 0, 0, 0], [1, 1, 1, 1], [-1, 0, 1, 0], [0, 1, 0, -1]]
    )
    student, teacher = (size * corners).bfloat16().requires_grad_(), (size * corners.roll(1, 0)).bfloat16()

    found = loss(yes_or_no(student), yes_or_no(teacher)) if several else loss(student, teacher)
    found.backward()

    assert found.dtype == torch.float32
    assert found.shape == ()
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@every_loss
def test_mixed_precision_does_not_reach_into_it(loss: Loss) -> None:
    student, teacher = logits(0).bfloat16(), logits(1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student, teacher)

    assert_close(found, loss(student.float(), teacher), atol=0, rtol=0)


@every_mean_of_rows
def test_it_is_the_mean_over_the_batch(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    alone = torch.stack([loss(student[row : row + 1], teacher[row : row + 1]) for row in range(6)])  # [6]

    assert_close(loss(student, teacher), alone.mean())


@every_divergence
def test_it_is_the_sum_over_the_middle_axes(loss: Loss) -> None:
    student, teacher = logits(0, rows=24).reshape(2, 4, 3, 4), logits(1, rows=24).reshape(2, 4, 3, 4)

    apart = [loss(student[:, i, j], teacher[:, i, j]) for i in range(4) for j in range(3)]

    assert_close(loss(student, teacher), torch.stack(apart).sum())


@every_divergence
def test_several_labels_are_so_many_questions(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    apart = [loss(yes_or_no(student[:, [label]]), yes_or_no(teacher[:, [label]])) for label in range(4)]

    assert_close(loss(yes_or_no(student), yes_or_no(teacher)), torch.stack(apart).sum())


@every_loss
def test_equal_weights_change_nothing(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    assert_close(loss(student, teacher, weights=torch.ones(6)), loss(student, teacher))
    assert_close(loss(student, teacher, weights=torch.full((6,), 0.3).bfloat16()), loss(student, teacher))


@every_mean_of_rows
def test_each_row_counts_by_its_weight(loss: Loss) -> None:
    student, teacher, weights = logits(0), logits(1), torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0, 3.0])

    alone = torch.stack([loss(student[row : row + 1], teacher[row : row + 1]) for row in range(6)])  # [6]

    assert_close(loss(student, teacher, weights=weights), (weights * alone).sum() / 6.5)


@every_mean_of_rows
def test_a_row_of_weight_zero_does_not_count(loss: Loss) -> None:
    student, teacher, weights = logits(0), logits(1), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])

    found = gradient(lambda values: loss(values, teacher, weights=weights), student)

    assert_close(loss(student, teacher, weights=weights), loss(student[:4], teacher[:4]))
    assert_close(found[4:], torch.zeros(2, 4), atol=0, rtol=0)


@every_mean_of_rows
def test_it_is_zero_and_not_nan_where_no_row_counts(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    assert loss(student, teacher, weights=torch.zeros(6)).item() == 0
    assert_close(
        gradient(lambda values: loss(values, teacher, weights=torch.zeros(6)), student),
        torch.zeros(6, 4),
        atol=0,
        rtol=0,
    )


@every_softened_loss
def test_the_same_temperature_for_each_is_one_temperature(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    assert_close(loss(student, teacher, temperature=torch.full((6,), 3.0)), loss(student, teacher, temperature=3.0))


@each([loss for name, loss in SOFTENED.items() if name != "relational"])
def test_each_row_has_the_temperature_that_is_its_own(loss: Loss) -> None:
    student, teacher = logits(0), logits(1)

    found = loss(student, teacher, temperature=torch.tensor([0.5, 0.5, 0.5, 4.0, 4.0, 4.0]))

    halves = loss(student[:3], teacher[:3], temperature=0.5), loss(student[3:], teacher[3:], temperature=4.0)
    assert_close(found, torch.stack(halves).mean())


@every_softened_loss
def test_temperatures_broadcast_over_the_middle_axes(loss: Loss) -> None:
    student, teacher = yes_or_no(logits(0)), yes_or_no(logits(1))

    assert_close(loss(student, teacher, temperature=torch.full((6,), 3.0)), loss(student, teacher, temperature=3.0))


@every_divergence
@pytest.mark.parametrize("as_questions", [lambda values: values, yes_or_no])
def test_the_gradient_keeps_its_size_when_the_temperature_rises(
    loss: Loss, as_questions: Callable[[Tensor], Tensor]
) -> None:
    teacher = as_questions(logits(1))

    at_100, at_400 = (
        gradient(lambda values, t=temperature: loss(as_questions(values), teacher, temperature=t), logits(0))
        for temperature in (100.0, 400.0)
    )

    # In the limit both distributions are linear in the logits, and temperature² cancels the two divisions.
    assert (at_400 - at_100).norm() < 0.1 * at_400.norm()
    assert at_400.norm() > 0.01


@pytest.mark.parametrize("shape", [(6, 3), (5, 4), (6, 4, 1), (4,)])
@every_loss
def test_two_shapes_that_differ_are_named(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\[6, 4\].*" + str(list(shape)).replace("[", r"\[")):
        loss(logits(0), torch.zeros(shape))


@every_loss
def test_logits_need_a_batch_and_classes(loss: Loss) -> None:
    with pytest.raises(ShapeError, match=r"logits are \[4\]"):
        loss(torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize("shape", [(), (5,), (6, 1)])
@every_loss
def test_weights_are_one_for_each_example(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"weights are .* the batch has 6 rows"):
        loss(logits(0), logits(1), weights=torch.ones(shape))


@pytest.mark.parametrize("shape", [(), (5,), (6, 1)])
@every_softened_loss
def test_temperatures_are_one_for_each_example(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"temperatures are .* the batch has 6 rows"):
        loss(logits(0), logits(1), temperature=torch.ones(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
@every_softened_loss
def test_a_temperature_is_above_zero(loss: Loss, temperature: float) -> None:
    with pytest.raises(TrainingError, match="temperature is"):
        loss(logits(0), logits(1), temperature=temperature)
