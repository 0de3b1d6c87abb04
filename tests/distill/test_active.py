"""Which examples to ask about next: each strategy by hand, and what holds for all of them."""

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill.active import Strategy, choose
from kd_deploy.errors import RecipeError, ShapeError

STRATEGIES: tuple[Strategy, ...] = ("random", "uncertainty", "margin", "disagreement", "diversity")


def single(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.asarray(np.log(rows), np.float32)


def several(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    p = np.array(rows)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def pool(rows: int = 60) -> partial[NDArray[np.int64]]:
    random = np.random.default_rng(0)
    return partial(
        choose,
        random.normal(size=(rows, 4)).astype(np.float32),
        representations=random.normal(size=(rows, 8)).astype(np.float32),
        second_logits=random.normal(size=(rows, 4)).astype(np.float32),
    )


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    found: Strategy = request.param
    return found


def test_uncertainty_takes_the_largest_entropy() -> None:
    logits = single((0.9, 0.05, 0.05), (0.5, 0.49, 0.01), (0.4, 0.3, 0.3), (0.98, 0.01, 0.01))

    assert choose(logits, count=3, strategy="uncertainty").tolist() == [2, 1, 0]


def test_margin_takes_the_two_likeliest_that_lie_closest() -> None:
    logits = single((0.9, 0.05, 0.05), (0.5, 0.49, 0.01), (0.4, 0.3, 0.3), (0.98, 0.01, 0.01))

    assert choose(logits, count=3, strategy="margin").tolist() == [1, 2, 0]


def test_margin_of_several_labels_is_that_of_the_least_sure() -> None:
    logits = several((0.9, 0.9), (0.95, 0.45), (0.3, 0.3))

    assert choose(logits, count=2, strategy="margin", multi=True).tolist() == [1, 2]
    assert choose(logits, count=2, strategy="uncertainty", multi=True).tolist() == [2, 1]


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((p * np.log(p / q)).sum(axis=1))


def test_disagreement_takes_the_largest_divergence() -> None:
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(3), size=30), random.dirichlet(np.ones(3), size=30)

    found = choose(np.log(p), count=29, strategy="disagreement", second_logits=np.log(q))

    middle = (p + q) / 2
    expected = np.argsort(-(kl(p, middle) + kl(q, middle)) / 2)
    assert found.tolist() == expected[:29].tolist()


def test_disagreement_in_one_of_several_labels_is_that_of_two_classes() -> None:
    p, q = np.array([[0.9], [0.5], [0.2]]), np.array([[0.8], [0.9], [0.2]])

    one = choose(several(*p), count=2, strategy="disagreement", second_logits=several(*q), multi=True)
    two = choose(
        single(*np.hstack([p, 1 - p])), count=2, strategy="disagreement", second_logits=single(*np.hstack([q, 1 - q]))
    )

    assert one.tolist() == two.tolist() == [1, 0]


LINE = np.array([[0.0], [1.0], [5.0], [6.0], [10.0], [20.0]])  # Its mean is 7.


def test_diversity_takes_the_row_farthest_from_all_that_were_taken() -> None:
    found = choose(np.zeros((6, 2)), count=5, strategy="diversity", representations=LINE)

    # 6 lies beside the mean; then 20, 0 and 10 (4 from 6), then 1, as far from 0 as 5 is from 6.
    assert found.tolist() == [3, 5, 0, 4, 1]


def test_diversity_goes_on_from_what_is_answered_already() -> None:
    already = np.array([False, True, False, False, False, True])

    found = choose(np.zeros((6, 2)), count=3, strategy="diversity", representations=LINE, already=already)

    # From 1 and 20, 10 is 9 away; then 5 and 6 are 4 away, and last 0 and 6 are 1 away.
    assert found.tolist() == [4, 2, 0]


def test_diversity_is_the_greedy_cover_by_brute_force() -> None:
    points = 50 + np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    already = np.arange(200) < 130

    found = choose(np.zeros((200, 2)), count=20, strategy="diversity", representations=points, already=already)

    apart = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
    centres = np.flatnonzero(already).tolist()
    for row in found:
        assert row == apart[:, centres].min(axis=1).argmax()
        centres.append(row)


def test_rows_that_are_all_alike_are_chosen_in_their_order() -> None:
    alike = np.ones((6, 3), np.float32)

    for name in ("uncertainty", "margin", "disagreement", "diversity"):
        found = choose(alike, count=4, strategy=name, representations=alike, second_logits=alike)
        assert found.tolist() == [0, 1, 2, 3]


def test_the_same_entropy_in_another_order_of_classes_is_the_same() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5))
    logits = np.log([np.random.default_rng(seed).permutation(rows) for seed in range(20)])

    assert choose(logits, count=19, strategy="uncertainty").tolist() == list(range(19))


def test_random_is_even_and_follows_the_seed() -> None:
    chosen = pool(10)
    counts = np.zeros(10)
    for seed in range(2000):
        counts[chosen(count=3, strategy="random", seed=seed)] += 1

    np.testing.assert_allclose(counts / 2000, 0.3, atol=0.05)


def test_it_is_the_same_each_time(strategy: Strategy) -> None:
    chosen = partial(pool(), count=10, strategy=strategy)

    np.testing.assert_array_equal(chosen(seed=3), chosen(seed=3))
    assert (chosen(seed=3).tolist() == chosen(seed=4).tolist()) is (strategy != "random")


def test_none_is_chosen_twice_and_none_that_is_answered_already(strategy: Strategy) -> None:
    already = np.random.default_rng(1).random(60) < 0.3

    found = pool()(count=30, strategy=strategy, already=already)

    assert len(set(found.tolist())) == len(found) == 30
    assert found.dtype == np.int64
    assert not already[found].any()


def test_a_smaller_choice_begins_a_larger_one(strategy: Strategy) -> None:
    chosen = partial(pool(), strategy=strategy)

    assert chosen(count=5).tolist() == chosen(count=25)[:5].tolist()


def test_what_was_chosen_is_left_out_of_the_next_choice(strategy: Strategy) -> None:
    chosen = partial(pool(), strategy=strategy)
    already = np.zeros(60, dtype=bool)
    already[chosen(count=10)] = True

    assert chosen(count=10, already=already).tolist() == chosen(count=20)[10:].tolist()


@pytest.mark.parametrize("count", [45, 60, 1000])
def test_a_count_beyond_the_pool_is_the_whole_pool(strategy: Strategy, count: int) -> None:
    already = np.arange(60) % 4 == 0

    assert pool()(count=count, strategy=strategy, already=already).tolist() == np.flatnonzero(~already).tolist()


def test_nothing_wanted_or_nothing_there_is_nothing(strategy: Strategy) -> None:
    assert pool()(count=0, strategy=strategy).shape == (0,)
    assert pool()(count=5, strategy=strategy, already=np.ones(60, dtype=bool)).shape == (0,)
    assert pool(0)(count=5, strategy=strategy).shape == (0,)


def test_what_is_not_a_number_is_not_chosen_twice(strategy: Strategy) -> None:
    broken = np.full((8, 4), np.nan, np.float32)

    found = choose(broken, count=5, strategy=strategy, representations=broken, second_logits=broken)

    assert len(set(found.tolist())) == 5


def test_a_strategy_needs_its_input() -> None:
    with pytest.raises(RecipeError, match="diversity needs representations"):
        choose(np.zeros((3, 2)), count=9, strategy="diversity")
    with pytest.raises(RecipeError, match="disagreement needs second logits"):
        choose(np.zeros((3, 2)), count=9, strategy="disagreement")
    with pytest.raises(RecipeError, match="is -1"):
        choose(np.zeros((3, 2)), count=-1, strategy="margin")


def test_inputs_of_other_rows_are_named() -> None:
    logits = np.zeros((3, 2))
    with pytest.raises(ShapeError, match=r"representations are \[4, 2\].* 3 rows"):
        choose(logits, count=1, strategy="diversity", representations=np.zeros((4, 2)))
    with pytest.raises(ShapeError, match=r"second logits are \[3, 4\].*\[3, 2\]"):
        choose(logits, count=1, strategy="disagreement", second_logits=np.zeros((3, 4)))
    with pytest.raises(ShapeError, match=r"already is \[2\]"):
        choose(logits, count=1, strategy="random", already=np.zeros(2, dtype=bool))
    with pytest.raises(ShapeError, match=r"logits are \[3\]"):
        choose(np.zeros(3), count=1, strategy="random")
