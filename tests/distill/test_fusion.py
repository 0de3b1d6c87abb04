"""Several teachers as one: each way against its formula, and what holds for all of them."""

import numpy as np
import pytest

from kd_deploy.distill.fusion import Fusion, fuse, mean_of
from kd_deploy.errors import ShapeError

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(2, 5, 3))
SCORES = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.6]])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_fixed_weights_are_a_mean_of_probabilities() -> None:
    fused = fuse([FIRST, SECOND], weights=[3, 1])

    np.testing.assert_allclose(np.exp(fused), 0.75 * softmax(FIRST) + 0.25 * softmax(SECOND), rtol=1e-5)


def test_the_surer_teacher_counts_more_text_by_text() -> None:
    sure, unsure = np.array([[8.0, 0.0], [0.0, 0.1]]), np.array([[0.0, 0.1], [0.0, 8.0]])

    p = np.exp(fuse([sure, unsure], weights=[1, 1], how="confidence"))

    entropies = [-(softmax(one) * np.log(softmax(one))).sum(axis=1) for one in (sure, unsure)]
    shares = np.stack([1 - one / np.log(2) for one in entropies])
    shares = shares / shares.sum(axis=0)
    expected = shares[0][:, None] * softmax(sure) + shares[1][:, None] * softmax(unsure)
    np.testing.assert_allclose(p, expected, rtol=1e-4)
    assert p[0, 0] > 0.99
    assert p[1, 1] > 0.99


def test_each_class_comes_from_the_teacher_that_tells_it_best() -> None:
    p = np.exp(fuse([FIRST, SECOND], weights=[1, 1], how="best_per_class", class_scores=SCORES))

    mixed = np.stack([softmax(FIRST)[:, 0], softmax(SECOND)[:, 1], softmax(SECOND)[:, 2]], axis=1)
    np.testing.assert_allclose(p, mixed / mixed.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("how", ["weights", "confidence", "best_per_class"])
def test_teachers_that_agree_are_one_teacher(how: Fusion, multi: bool) -> None:
    fused = fuse([FIRST, FIRST], weights=[1, 2], how=how, class_scores=SCORES, multi=multi)

    if multi:
        np.testing.assert_allclose(fused, FIRST, rtol=1e-3, atol=1e-4)
    else:
        np.testing.assert_allclose(softmax(fused), softmax(FIRST), rtol=1e-4)


def test_several_classes_a_text_are_yes_or_no_each() -> None:
    fused = fuse([FIRST, SECOND], weights=[1, 1], multi=True)

    sigmoid = [1 / (1 + np.exp(-one)) for one in (FIRST, SECOND)]
    np.testing.assert_allclose(1 / (1 + np.exp(-fused)), (sigmoid[0] + sigmoid[1]) / 2, rtol=1e-5)


def test_teachers_that_know_nothing_do_not_divide_by_zero() -> None:
    fused = fuse([np.zeros((2, 3)), np.zeros((2, 3))], weights=[1, 1], how="confidence")

    np.testing.assert_allclose(np.exp(fused), 1 / 3, rtol=1e-5)


def test_teachers_of_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 teachers with logits"):
        fuse([FIRST, SECOND[:, :2]], weights=[1, 1])
    with pytest.raises(ShapeError, match=r"class scores are None, not \[2, 3\]"):
        fuse([FIRST, SECOND], weights=[1, 1], how="best_per_class")


def test_numbers_are_averaged_by_the_weights_of_who_says_them() -> None:
    first, second = np.array([[1.0], [4.0]]), np.array([[3.0], [0.0]])

    found = mean_of([first, second], weights=[3.0, 1.0])

    np.testing.assert_allclose(found, [[1.5], [3.0]])
    assert found.dtype == np.float32
    with pytest.raises(ShapeError, match="2 teachers with numbers"):
        mean_of([first, second[:1]], weights=[1.0, 1.0])
