import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kd_deploy.distill.objectives.labels import hard_label_loss

STUDENT = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])


def test_one_label_is_the_cross_entropy() -> None:
    values = STUDENT.double().numpy()
    p = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    loss = hard_label_loss(STUDENT, torch.tensor([2, 1]))

    assert loss.item() == pytest.approx(-(np.log(p[0, 2]) + np.log(p[1, 1])) / 2, rel=1e-5)


def test_several_labels_are_the_sum_over_classes() -> None:
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    p = 1 / (1 + np.exp(-STUDENT.double().numpy()))
    y = targets.double().numpy()

    loss = hard_label_loss(STUDENT, targets)

    assert loss.item() == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("targets", [torch.tensor([2, 1]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])])
def test_it_is_the_mean_over_the_batch(targets: torch.Tensor) -> None:
    repeats = (3,) if targets.dim() == 1 else (3, 1)

    assert_close(hard_label_loss(STUDENT.repeat(3, 1), targets.repeat(*repeats)), hard_label_loss(STUDENT, targets))


@pytest.mark.parametrize("targets", [torch.tensor([2, 1]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])])
def test_it_is_finite_in_bfloat16(targets: torch.Tensor) -> None:
    loss = hard_label_loss((500 * STUDENT).bfloat16(), targets)

    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_it_is_zero_where_the_student_is_certain_and_right() -> None:
    certain = torch.tensor([[100.0, -100.0]])

    assert hard_label_loss(certain, torch.tensor([0])).item() == 0
    assert hard_label_loss(certain, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0, abs=1e-30)
