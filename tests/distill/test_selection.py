"""How much an example counts: by hand, and where several labels differ from one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill.selection import (
    class_probabilities,
    entropy,
    keep_confident,
    right_or_weight,
    surprise,
    teacher_confidence,
)
from kd_deploy.errors import RecipeError, ShapeError


def single(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Logits whose softmax is the rows given."""
    return np.asarray(np.log(rows), np.float32)


def several(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Logits whose sigmoid is the rows given."""
    p = np.array(rows)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def test_probabilities_are_a_softmax_or_sigmoids() -> None:
    rows = ((0.7, 0.2, 0.1), (0.25, 0.5, 0.25))

    np.testing.assert_allclose(class_probabilities(5 + single(*rows), multi=False), rows, rtol=1e-6)
    np.testing.assert_allclose(class_probabilities(several(*rows), multi=True), rows, rtol=1e-6)


def test_confidence_is_the_largest_probability() -> None:
    logits = single((0.7, 0.2, 0.1), (0.2, 0.3, 0.5))

    np.testing.assert_allclose(teacher_confidence(logits, multi=False), [0.7, 0.5], rtol=1e-6)


def test_confidence_in_several_labels_is_the_mean_over_the_answers() -> None:
    logits = several((0.9, 0.2), (0.5, 0.5), (0.4, 0.3))

    np.testing.assert_allclose(teacher_confidence(logits, multi=True), [0.85, 0.5, 0.65], rtol=1e-6)


def test_entropy_is_its_formula() -> None:
    found = entropy(single((0.7, 0.2, 0.1), (0.5, 0.25, 0.25)), multi=False)

    by_hand = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(found, [by_hand, 1.5 * np.log(2)], rtol=1e-6)


def test_entropy_of_several_labels_is_the_sum_over_them() -> None:
    found = entropy(several((0.9, 0.2), (0.5, 0.5)), multi=True)

    by_hand = -sum(p * np.log(p) for p in (0.9, 0.1, 0.2, 0.8))
    np.testing.assert_allclose(found, [by_hand, 2 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("multi", [False, True])
def test_normalised_entropy_runs_from_0_to_1(multi: bool, classes: int) -> None:
    even, sure = np.zeros((1, classes)), 200 * np.eye(classes) - 100

    assert entropy(even, multi=multi, normalised=True) == pytest.approx(1)
    assert entropy(sure, multi=multi, normalised=True) == pytest.approx(0, abs=1e-12)


def test_surprise_is_zero_where_nothing_is_open() -> None:
    np.testing.assert_allclose(surprise(np.array([0.0, 1.0, 0.5])), [0, 0, np.log(2) / 2])


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_everything_is_finite_for_large_logits(dtype: type, size: float, multi: bool) -> None:
    logits: NDArray[np.floating] = (size * np.array([[1, -2, 0.5], [-3, -1, 2]])).astype(dtype)

    confidence, surprised = teacher_confidence(logits, multi=multi), entropy(logits, multi=multi)

    assert np.isfinite(confidence).all()
    assert np.isfinite(surprised).all()
    assert (confidence <= 1).all()
    assert (surprised >= 0).all()


POOL = single((0.9, 0.1), (0.6, 0.4), (0.8, 0.2), (0.3, 0.7), (0.45, 0.55))


def kept(logits: NDArray[np.float32], **limits: float) -> list[int]:
    both = {"threshold": None, "top_share": None} | limits
    return np.flatnonzero(keep_confident(logits, multi=False, **both)).tolist()


def test_no_limit_keeps_all() -> None:
    assert kept(POOL) == [0, 1, 2, 3, 4]
    assert kept(POOL, threshold=0, top_share=1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("threshold", "rows"), [(0.5, [0, 1, 2, 3, 4]), (0.65, [0, 2, 3]), (0.95, [])])
def test_the_threshold_is_on_the_confidence(threshold: float, rows: list[int]) -> None:
    assert kept(POOL, threshold=threshold) == rows


def test_a_confidence_at_the_threshold_is_kept() -> None:
    assert kept(np.zeros((2, 2), np.float32), threshold=0.5) == [0, 1]


@pytest.mark.parametrize(
    ("share", "rows"), [(0.01, [0, 3]), (0.5, [0, 2, 3]), (0.7, [0, 2, 3]), (1.0, [0, 1, 2, 3, 4])]
)
def test_the_top_share_is_taken_of_each_predicted_class(share: float, rows: list[int]) -> None:
    assert kept(POOL, top_share=share) == rows


def test_both_limits_must_hold() -> None:
    assert kept(POOL, threshold=0.75, top_share=0.7) == [0, 2]


def test_the_earlier_of_two_as_confident_is_kept() -> None:
    assert kept(np.tile(POOL[:1], (4, 1)), top_share=0.5) == [0, 1]


def test_several_labels_keep_an_example_for_any_of_its_classes() -> None:
    logits = several((0.9, 0.2), (0.8, 0.95), (0.6, 0.3), (0.2, 0.3), (0.3, 0.4))

    found = keep_confident(logits, threshold=None, top_share=0.4, multi=True)

    # Class 0 keeps row 1 (0.875), class 1 row 1 alone, no class at all row 3 (0.75).
    assert np.flatnonzero(found).tolist() == [1, 3]


def test_no_predicted_class_vanishes() -> None:
    logits = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32)

    rows = kept(logits, top_share=0.001)

    assert sorted(logits.argmax(axis=1)[rows]) == sorted(set(logits.argmax(axis=1)))


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"top_share": 0}, "top share is 0"),
        ({"top_share": 1.1}, "top share is 1.1"),
    ],
)
def test_a_limit_out_of_its_range_is_named(limits: dict[str, float], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        kept(POOL, **limits)


@pytest.mark.parametrize(
    ("wrong", "weights"), [("keep", [1, 1, 1]), ("drop", [1, 0, 0]), (0.25, [1, 0.25, 0.25]), (0, [1, 0, 0])]
)
def test_wrong_answers_weigh_what_they_are_given(wrong: float, weights: list[float]) -> None:
    found = right_or_weight(POOL[:3], [(0,), (1,), (1,)], wrong=wrong, multi=False)

    assert found.tolist() == weights
    assert found.dtype == np.float32


def test_several_labels_are_right_only_together() -> None:
    logits = several((0.9, 0.8, 0.1), (0.9, 0.8, 0.1), (0.9, 0.8, 0.1), (0.1, 0.2, 0.3), (0.1, 0.2, 0.6))
    targets = [(0, 1), (0,), (0, 1, 2), (), ()]

    assert right_or_weight(logits, targets, wrong=0.5, multi=True).tolist() == [1, 0.5, 0.5, 1, 0.5]


def test_weights_that_cannot_be_are_named() -> None:
    with pytest.raises(RecipeError, match=r"wrong answers is 1\.5"):
        right_or_weight(POOL, [(0,)] * 5, wrong=1.5, multi=False)
    with pytest.raises(ShapeError, match="5 rows of logits and 4 targets"):
        right_or_weight(POOL, [(0,)] * 4, wrong="drop", multi=False)
    with pytest.raises(ShapeError, match=r"target \[2\] of row 0"):
        right_or_weight(POOL, [(2,)] * 5, wrong="drop", multi=False)
    with pytest.raises(ShapeError, match=r"target \[-1\]"):
        right_or_weight(POOL, [(-1,)] * 5, wrong="drop", multi=False)


@pytest.mark.parametrize("multi", [False, True])
def test_no_examples_give_no_answers(multi: bool) -> None:
    nothing = np.zeros((0, 3), np.float32)

    assert teacher_confidence(nothing, multi=multi).shape == entropy(nothing, multi=multi).shape == (0,)
    assert keep_confident(nothing, threshold=0.5, top_share=0.5, multi=multi).shape == (0,)
    assert right_or_weight(nothing, [], wrong="drop", multi=multi).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 2, 1)])
def test_logits_that_are_no_matrix_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"logits are \[3"):
        teacher_confidence(np.zeros(shape, np.float32), multi=False)
    with pytest.raises(ShapeError, match=r"logits are \[3"):
        right_or_weight(np.zeros(shape, np.float32), [(0,)] * 3, wrong="drop", multi=True)
