"""Correlations, with ties and with rows that count several times."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr  # type: ignore[import-untyped] # scipy has no types

from kd_deploy.tasks.ranking import Numbers, pearson, spearman

BOTH = pytest.mark.parametrize("correlation", [spearman, pearson])
Correlation = Callable[..., float]


def numbers(*values: float) -> Numbers:
    return np.array(values, dtype=np.float64)


def drawn_pairs(seed: int) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(seed)
    left = rng.normal(size=60)
    return left, np.round(left + rng.normal(size=60))  # the rounding makes ties


def test_spearman_is_worked_out_from_ranks() -> None:
    # ranks 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 · 4 / (5 · 24)
    assert spearman(numbers(1, 2, 3, 4, 100), numbers(20, 10, 40, 30, 50)) == pytest.approx(0.8)


def test_equal_numbers_share_their_mean_rank() -> None:
    # ranks 1.5 1.5 3 and 1 2 3: covariance 1.5, variances 1.5 and 2
    assert spearman(numbers(7, 7, 9), numbers(1, 2, 3)) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_pearson_is_worked_out_from_deviations() -> None:
    # deviations -1 0 1 and -2 1 1
    assert pearson(numbers(1, 2, 3), numbers(0, 3, 3)) == pytest.approx(3 / math.sqrt(2 * 6))


@pytest.mark.parametrize("seed", range(5))
def test_both_are_those_of_scipy(seed: int) -> None:
    left, right = drawn_pairs(seed)

    assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)
    assert pearson(left, right) == pytest.approx(pearsonr(left, right).statistic, abs=1e-12)


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_counted_pairs_are_those_of_the_written_out_sample(correlation: Correlation, seed: int) -> None:
    left, right = drawn_pairs(seed)
    drawn = np.random.default_rng(seed).integers(0, 60, size=60)

    counted = correlation(left, right, counts=np.bincount(drawn, minlength=60))

    assert counted == pytest.approx(correlation(left[drawn], right[drawn]), abs=1e-12)
    assert counted != pytest.approx(correlation(left, right), abs=1e-6)


@BOTH
def test_a_line_is_one_and_its_mirror_image_minus_one(correlation: Correlation) -> None:
    values = numbers(0.1, 0.7, 3.3, 2.9, 0.2)

    assert correlation(values, 3 * values + 1) == pytest.approx(1)
    assert correlation(values, -values) == pytest.approx(-1)
    assert abs(correlation(values, values)) <= 1


@BOTH
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300])
def test_a_constant_says_nothing(correlation: Correlation, constant: float) -> None:
    flat, values = np.full(11, constant), np.arange(11.0)

    assert correlation(flat, values) == correlation(values, flat) == correlation(flat, flat) == 0


@BOTH
def test_a_side_that_is_constant_where_it_counts_says_nothing(correlation: Correlation) -> None:
    counts = np.array([2, 1, 0])

    assert correlation(numbers(5, 5, 6), numbers(1, 2, 3), counts=counts) == 0


@BOTH
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_numbers_may_be_tiny_or_huge(correlation: Correlation, size: float) -> None:
    values = numbers(1, 2, 4, 8)

    assert correlation(values * size, values) == pytest.approx(1)


@BOTH
def test_what_is_no_number_has_no_correlation(correlation: Correlation) -> None:
    left, right = numbers(1, math.nan, 3), numbers(1, 2, 4)

    assert math.isnan(correlation(left, right))
    assert math.isnan(correlation(right, left))
    assert correlation(left, right, counts=np.array([1, 0, 2])) == pytest.approx(1)


def test_an_infinite_number_has_a_rank_and_no_deviation(recwarn: Any) -> None:
    left, right = numbers(1, 2, math.inf), numbers(1, 2, 3)

    assert spearman(left, right) == pytest.approx(1)
    assert math.isnan(pearson(left, right))
    assert not recwarn.list
