"""The losses over a whole batch, by hand; what holds for every loss is in test_features."""

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.structure import (
    angle_relations,
    contrastive,
    distance_relations,
    similarity_matrix,
)
from kd_deploy.errors import ShapeError

Array = NDArray[np.float64]
Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "distance relations": distance_relations,
    "angle relations": angle_relations,
    "similarity matrix": similarity_matrix,
}


@pytest.fixture(params=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


def rows(seed: int, *, texts: int = 6, width: int = 4) -> Tensor:
    return torch.randn(texts, width, generator=torch.Generator().manual_seed(seed))


def turn(width: int) -> Tensor:
    return torch.linalg.qr(rows(9, texts=width, width=width)).Q


def huber(values: Array) -> Array:
    return np.where(np.abs(values) < 1, values**2 / 2, np.abs(values) - 0.5)


def distances(values: Array) -> Array:
    found = np.array([np.linalg.norm(a - b) for a, b in combinations(values, 2)])
    return found / found.mean()


def cosines(values: Array) -> Array:
    found = []
    for a, vertex, b in permutations(values, 3):
        one, other = a - vertex, b - vertex
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        found.append(one @ other / lengths if lengths else 0.0)
    return np.array(found)


@pytest.mark.parametrize(("found", "relation"), [(distance_relations, distances), (angle_relations, cosines)])
@pytest.mark.parametrize("width", [4, 7])
def test_relations_are_their_formulas(found: Loss, relation: Callable[[Array], Array], width: int) -> None:
    student, teacher = 3 * rows(0, width=width), rows(1)
    student[0] *= 20  # far enough from the others for both branches of the Huber loss

    by_hand = huber(relation(student.double().numpy()) - relation(teacher.double().numpy())).mean()
    assert found(student, teacher).item() == pytest.approx(by_hand, rel=1e-4)


def test_an_angle_without_a_side_has_the_cosine_0() -> None:
    student, teacher = rows(0), rows(1)
    teacher[1] = teacher[0]

    by_hand = huber(cosines(student.double().numpy()) - cosines(teacher.double().numpy())).mean()
    assert angle_relations(student, teacher).item() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("width", [4, 7])
def test_similarity_is_its_formula(width: int) -> None:
    def matrix(values: Tensor) -> Array:
        gram = values.double().numpy() @ values.double().numpy().T
        return np.asarray(gram / np.linalg.norm(gram, axis=1, keepdims=True))

    by_hand = ((matrix(rows(0, width=width)) - matrix(rows(1))) ** 2).sum() / 6**2
    assert similarity_matrix(rows(0, width=width), rows(1)).item() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_contrastive_is_its_formula(temperature: float) -> None:
    s, t = (values.double().numpy() for values in (rows(0), rows(1)))
    raised = np.exp(s @ t.T / np.linalg.norm(s, axis=1)[:, None] / np.linalg.norm(t, axis=1) / temperature)

    by_hand = -np.log(np.diag(raised) / raised.sum(axis=1)).mean()
    assert contrastive(rows(0), rows(1), temperature=temperature).item() == pytest.approx(by_hand, rel=1e-4)


def test_turning_and_scaling_change_nothing(loss: Loss) -> None:
    assert_close(loss(5 * rows(0) @ turn(4), rows(0)), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_moving_changes_nothing_between_distances_and_angles() -> None:
    assert_close(distance_relations(rows(0) + 3, rows(0)), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(angle_relations(rows(0) + 3, rows(0)), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert similarity_matrix(rows(0) + 3, rows(0)).item() > 0.01


@pytest.mark.parametrize(("one", "texts"), [(distance_relations, 1), (angle_relations, 1), (angle_relations, 2)])
def test_too_few_texts_to_relate_teach_nothing(one: Loss, texts: int) -> None:
    student = rows(0, texts=texts).requires_grad_()

    found = one(student, rows(1, texts=texts))
    found.backward()

    assert found.item() == 0
    assert student.grad is not None
    assert student.grad.abs().max() == 0


@pytest.mark.parametrize("duplicates", [2, 6])
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_texts_that_are_the_same_leave_the_gradient_finite(loss: Loss, duplicates: int, side: str) -> None:
    student, teacher = rows(0), rows(1)
    if side != "teacher":
        student[:duplicates] = student[0].clone()
    if side != "student":
        teacher[:duplicates] = teacher[0].clone()
    student.requires_grad_()

    found = loss(student, teacher)
    found.backward()

    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_widths_may_differ_and_batches_may_not(loss: Loss) -> None:
    assert torch.isfinite(loss(rows(0, width=3), rows(1, width=8)))
    with pytest.raises(ShapeError, match=r"student's are \[5, 4\], the teacher's are \[6, 4\]"):
        loss(rows(0, texts=5), rows(1))


def test_contrastive_needs_equal_widths() -> None:
    with pytest.raises(ShapeError, match=r"\[6, 3\].*\[6, 4\]"):
        contrastive(rows(0, width=3), rows(1))


def test_contrastive_asks_for_the_same_text() -> None:
    right, wrong = contrastive(rows(0), rows(0)), contrastive(rows(0).roll(1, dims=0), rows(0))

    assert 0 < right < 0.5 < wrong
    assert contrastive(rows(0, texts=1), rows(1, texts=1)).item() == 0


def test_contrastive_is_least_at_identity_where_the_teacher_holds_all_texts_equally_apart() -> None:
    simplex = torch.eye(4) - 1 / 4  # every two rows at the same cosine, -1/3
    student = simplex.clone().requires_grad_()

    least = contrastive(student, simplex, temperature=1.0)
    least.backward()

    assert_close(student.grad, torch.zeros(4, 4), atol=1e-6, rtol=0)
    assert least > 0
    for seed in range(20):
        assert contrastive(simplex + 0.3 * rows(seed, texts=4), simplex, temperature=1.0) > least
