import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.decisions import LOW
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.errors import ShapeError, TrainingError

STUDENT = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
ONE = torch.tensor([2, 1])
SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])

either_form = pytest.mark.parametrize("targets", [ONE, SEVERAL], ids=["one label", "several"])
every_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])


@every_smoothing
def test_one_label_is_the_cross_entropy(smoothing: float) -> None:
    values = STUDENT.double().numpy()
    p = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    aims = np.eye(3)[ONE.numpy()] * (1 - smoothing) + smoothing / 3

    loss = hard_label_loss(STUDENT, ONE, smoothing=smoothing)

    assert loss.item() == pytest.approx(-(aims * np.log(p)).sum(axis=1).mean(), rel=1e-5)
    assert_close(loss, F.cross_entropy(STUDENT, ONE, label_smoothing=smoothing))


@every_smoothing
def test_places_in_the_padding_are_no_classes(smoothing: float) -> None:
    padded = F.pad(STUDENT, (0, 5), value=LOW)

    assert_close(hard_label_loss(padded, ONE, smoothing=smoothing), hard_label_loss(STUDENT, ONE, smoothing=smoothing))


@every_smoothing
def test_several_labels_are_the_sum_over_classes(smoothing: float) -> None:
    p = 1 / (1 + np.exp(-STUDENT.double().numpy()))
    y = SEVERAL.double().numpy() * (1 - smoothing) + 0.5 * smoothing

    loss = hard_label_loss(STUDENT, SEVERAL, smoothing=smoothing)

    assert loss.item() == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean(), rel=1e-5)


@either_form
def test_it_is_the_mean_over_the_batch(targets: Tensor) -> None:
    repeats = (3,) if targets.dim() == 1 else (3, 1)

    assert_close(hard_label_loss(STUDENT.repeat(3, 1), targets.repeat(*repeats)), hard_label_loss(STUDENT, targets))


@either_form
def test_each_row_counts_by_its_weight(targets: Tensor) -> None:
    first, second = (hard_label_loss(STUDENT[[row]], targets[[row]]) for row in range(2))

    assert_close(hard_label_loss(STUDENT, targets, weights=torch.tensor([3.0, 1.0])), (3 * first + second) / 4)
    assert_close(hard_label_loss(STUDENT, targets, weights=torch.tensor([0.0, 0.2])), second)
    assert hard_label_loss(STUDENT, targets, weights=torch.zeros(2)).item() == 0


@either_form
@every_smoothing
def test_it_is_finite_in_bfloat16(targets: Tensor, smoothing: float) -> None:
    student = (500 * STUDENT).bfloat16().requires_grad_()

    loss = hard_label_loss(student, targets, smoothing=smoothing)
    loss.backward()

    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@either_form
def test_a_step_down_the_gradient_comes_closer(targets: Tensor) -> None:
    student = STUDENT.clone().requires_grad_()
    before = hard_label_loss(student, targets, smoothing=0.1)
    before.backward()

    assert student.grad is not None
    assert hard_label_loss(student - 0.05 * student.grad, targets, smoothing=0.1) < before


def test_it_is_zero_where_the_student_is_certain_and_right() -> None:
    certain = torch.tensor([[100.0, -100.0]])

    assert hard_label_loss(certain, torch.tensor([0])).item() == 0
    assert hard_label_loss(certain, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0, abs=1e-30)


def test_smoothing_makes_certainty_cost_something() -> None:
    certain, unsure = torch.tensor([[100.0, -100.0]]), torch.tensor([[3.0, 0.0]])

    assert hard_label_loss(certain, torch.tensor([0]), smoothing=0.1) > hard_label_loss(
        unsure, torch.tensor([0]), smoothing=0.1
    )


@pytest.mark.parametrize("targets", [torch.tensor([1]), torch.zeros(2, 2), torch.zeros(3, 3), torch.tensor(1)])
def test_targets_that_do_not_fit_are_named(targets: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"targets are .*\[2, 3\]"):
        hard_label_loss(STUDENT, targets)


@either_form
def test_weights_are_one_for_each_example(targets: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"weights are \[3\]"):
        hard_label_loss(STUDENT, targets, weights=torch.ones(3))


@either_form
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_is_a_share_below_one(targets: Tensor, smoothing: float) -> None:
    with pytest.raises(TrainingError, match="smoothing is"):
        hard_label_loss(STUDENT, targets, smoothing=smoothing)
