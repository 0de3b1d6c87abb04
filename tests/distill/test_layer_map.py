"""Layer maps by rule and by likeness, and the likeness they go by."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill.layer_map import best_map, check_pairs, layer_map, linear_cka
from kd_deploy.errors import RecipeError, ShapeError, TrainingError

Array = NDArray[np.float64]


def values(seed: int, *, rows: int = 40, width: int = 6) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, width))


def turn(width: int) -> Array:
    return np.asarray(np.linalg.qr(values(9, rows=width, width=width)).Q)


@pytest.mark.parametrize(
    ("kind", "student_depth", "teacher_depth", "teachers"),
    [
        ("uniform", 4, 12, (2, 5, 8, 11)),
        ("uniform", 6, 12, (1, 3, 5, 7, 9, 11)),
        ("uniform", 3, 3, (0, 1, 2)),
        ("uniform", 2, 3, (1, 2)),
        ("uniform", 4, 6, (1, 2, 4, 5)),
        ("uniform", 5, 12, (1, 4, 6, 9, 11)),
        ("uniform", 1, 12, (11,)),
        ("last", 6, 12, (6, 7, 8, 9, 10, 11)),
        ("last", 1, 2, (1,)),
        ("last", 3, 3, (0, 1, 2)),
        ("skip", 6, 12, (1, 3, 5, 7, 9)),
        ("skip", 3, 12, (3, 7)),
        ("skip", 5, 12, (1, 3, 5, 7)),
        ("skip", 2, 2, (0,)),
    ],
)
def test_a_rule_is_its_definition(kind: str, student_depth: int, teacher_depth: int, teachers: tuple[int, ...]) -> None:
    found = layer_map(kind, student_depth=student_depth, teacher_depth=teacher_depth)

    assert found == tuple(enumerate(teachers))


@pytest.mark.parametrize("kind", ["uniform", "last", "skip"])
def test_every_rule_keeps_the_order_and_the_ranges(kind: str) -> None:
    for teacher_depth in range(2, 25):
        for student_depth in range(2, teacher_depth + 1):
            depths = {"student_depth": student_depth, "teacher_depth": teacher_depth}
            pairs = layer_map(kind, **depths)

            check_pairs(pairs, **depths)
            teachers = [teacher for _, teacher in pairs]
            assert teachers == sorted(set(teachers))
            assert [student for student, _ in pairs] == list(range(student_depth - (kind == "skip")))
            assert (teachers[-1] == teacher_depth - 1) == (kind != "skip")


@pytest.mark.parametrize("kind", ["uniform", "last", "skip"])
@pytest.mark.parametrize("student_depth", [0, 5])
def test_a_student_that_does_not_fit_in_the_teacher_is_refused(kind: str, student_depth: int) -> None:
    with pytest.raises(RecipeError, match=rf"student of {student_depth} layers .* teacher of 4") as refusal:
        layer_map(kind, student_depth=student_depth, teacher_depth=4)

    assert "1 to 4 layers" in refusal.value.hint


def test_skip_leaves_nothing_to_a_single_layer() -> None:
    with pytest.raises(RecipeError, match="nothing to match") as refusal:
        layer_map("skip", student_depth=1, teacher_depth=12)

    assert refusal.value.hint == "use uniform or last"


def test_pairs_in_range_pass_in_any_order() -> None:
    check_pairs(((0, 0), (5, 11), (0, 3)), student_depth=6, teacher_depth=12)
    check_pairs((), student_depth=6, teacher_depth=12)


@pytest.mark.parametrize("wrong", [(6, 0), (0, 12), (-1, 0), (0, -1)])
def test_pairs_out_of_range_are_named_with_both_ranges(wrong: tuple[int, int]) -> None:
    with pytest.raises(RecipeError) as refusal:
        check_pairs(((0, 0), wrong, (9, 9)), student_depth=6, teacher_depth=12)

    message = str(refusal.value)
    assert f"{list(wrong)}, [9, 9]" in message
    assert "[0, 0]" not in message
    assert "0 to 5" in message
    assert "0 to 11" in message


def test_cka_is_its_formula_over_gram_matrices() -> None:
    x, y = values(0), values(1, width=9) + values(0) @ values(2, rows=6, width=9)
    centring = np.eye(40) - 1 / 40
    k, m = centring @ x @ x.T @ centring, centring @ y @ y.T @ centring

    by_hand = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert linear_cka(x, y) == pytest.approx(by_hand)
    assert linear_cka(y, x) == pytest.approx(by_hand)


def test_cka_does_not_see_turns_sizes_and_places() -> None:
    x, y = values(0), values(1) + values(0)

    assert linear_cka(7 * x @ turn(6) + 3, y) == pytest.approx(linear_cka(x, y))
    assert linear_cka(x, 1e-3 * x @ turn(6) - 5) == pytest.approx(1)
    assert linear_cka(x, x) == pytest.approx(1)


def test_cka_sees_other_linear_maps() -> None:
    assert linear_cka(values(0), values(0) * np.array([10.0, 1, 1, 1, 1, 1])) < 0.9


def test_cka_lies_between_zero_and_one_and_is_small_for_strangers() -> None:
    found = linear_cka(values(0, rows=4000), values(1, rows=4000))

    assert 0 <= found < 0.01
    assert 0 <= linear_cka(values(0, rows=2), values(1, rows=2)) <= 1


@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_cka_of_single_precision_neither_overflows_nor_vanishes(size: float) -> None:
    x, y = values(0), values(1) + values(0)

    assert linear_cka((size * x).astype(np.float32), y) == pytest.approx(linear_cka(x, y), rel=1e-5)


@pytest.mark.parametrize("same", [np.full((40, 6), 0.1), np.zeros((40, 6)), np.tile(values(3, rows=1), (40, 1))])
def test_cka_with_what_is_the_same_for_all_is_zero(same: Array) -> None:
    assert linear_cka(same, values(0)) == 0
    assert linear_cka(values(0), same) == 0


def test_cka_does_not_hide_a_nan() -> None:
    broken = values(0)
    broken[3, 2] = np.nan

    assert np.isnan(linear_cka(broken, values(1)))


@pytest.mark.parametrize("other", [values(1, rows=39), values(1)[0], values(1)[None]])
def test_cka_of_other_examples_is_refused(other: Array) -> None:
    with pytest.raises(ShapeError, match=r"\[40, 6\] with"):
        linear_cka(values(0), other)


def test_the_best_map_is_that_of_trying_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(150):
        teacher_depth = int(random.integers(1, 9))
        student_depth = int(random.integers(1, teacher_depth + 1))
        similarity = random.normal(size=(student_depth, teacher_depth))

        tried = combinations(range(teacher_depth), student_depth)
        best = max(tried, key=lambda teachers: similarity[np.arange(student_depth), list(teachers)].sum())
        assert best_map(similarity) == tuple(enumerate(best))


def test_of_several_best_maps_it_takes_the_lower_layers() -> None:
    assert best_map(np.ones((3, 6))) == ((0, 0), (1, 1), (2, 2))
    assert best_map(np.array([[0.0, 1, 1, 0], [0.0, 0, 1, 1]])) == ((0, 1), (1, 2))


def test_the_best_map_finds_copied_layers() -> None:
    teacher = [values(seed) for seed in range(8)]
    student = [2 * teacher[layer] @ turn(6) for layer in (1, 4, 6)]

    similarity = np.array([[linear_cka(low, high) for high in teacher] for low in student])
    assert best_map(similarity) == ((0, 1), (1, 4), (2, 6))


def test_the_best_map_refuses_a_deeper_student() -> None:
    with pytest.raises(RecipeError, match="student of 3 layers"):
        best_map(np.ones((3, 2)))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_the_best_map_names_what_is_not_finite(broken: float) -> None:
    similarity = np.ones((2, 4))
    similarity[1, 2] = broken

    with pytest.raises(TrainingError, match="student layer 1 and teacher layer 2 is"):
        best_map(similarity)
