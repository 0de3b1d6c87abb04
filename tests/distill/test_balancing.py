"""Several tasks in one order: as many batches of each as the recipe says, one task a batch, every row in its turn."""

from collections import Counter
from itertools import chain, pairwise

import pytest

from kd_deploy.distill.balancing import Balanced, Share
from kd_deploy.distill.sampling import Batches

LARGE, SMALL = [5 + row % 7 for row in range(80)], [3 + row % 5 for row in range(24)]
SIZE = 8


def balanced(*weights: float, accumulation: int = 1, seed: int = 0) -> Balanced:
    rows = (LARGE, SMALL)
    shares = [
        Share(batches=Batches(lengths, batch_size=SIZE, seed=seed), weight=weight)
        for lengths, weight in zip(rows, weights, strict=True)
    ]
    return Balanced(shares, rows=rows, seed=seed, accumulation=accumulation)


def epoch(made: Balanced, number: int = 0) -> list[list[int]]:
    made.set_epoch(number)
    return list(made)


def task_of(batch: list[int]) -> int:
    (task,) = {int(row >= len(LARGE)) for row in batch}  # one task a batch
    return task


@pytest.mark.parametrize(("weight", "count"), [(1.0, 10), (0.5, 5), (2.0, 20), (0.01, 1)])
def test_each_task_has_as_many_batches_as_its_weight_says(weight: float, count: int) -> None:
    made = balanced(1.0, weight)

    found = Counter(map(task_of, epoch(made)))

    assert found == {0: 10, 1: count}
    assert len(made) == 10 + count


def test_the_largest_task_has_every_row_once_and_a_smaller_one_begins_again() -> None:
    found = Counter(chain.from_iterable(epoch(balanced(1.0, 1.0))))

    assert [found[row] for row in range(len(LARGE))] == [1] * len(LARGE)
    again = [found[len(LARGE) + row] for row in range(len(SMALL))]
    assert set(again) == {3, 4}  # 10 batches over the 3 that the small task has
    assert sum(again) == 80


def test_a_task_begins_again_in_another_order() -> None:
    small = [batch for batch in epoch(balanced(1.0, 1.0)) if task_of(batch)]

    assert len({tuple(sorted(batch)) for batch in small}) > 3


def test_a_task_of_little_weight_goes_on_where_it_was() -> None:
    made = balanced(0.3, 1.0)

    found = [row for number in range(10) for batch in epoch(made, number) for row in batch if row < len(LARGE)]

    assert Counter(found) == dict.fromkeys(range(len(LARGE)), 3)


def test_tasks_take_turns_at_random_and_the_longest_text_comes_first() -> None:
    found = epoch(balanced(1.0, 1.0))
    lengths = LARGE + SMALL

    turns = [task_of(batch) for batch in found]
    changes = sum(left != right for left, right in pairwise(turns))
    assert 4 < changes < 16
    assert max(lengths[row] for row in found[0]) == max(lengths)


def test_seed_and_epoch_alone_decide() -> None:
    made = balanced(1.0, 1.0)
    third = epoch(made, 3)

    assert epoch(made, 0) != third
    assert epoch(made, 3) == third == epoch(balanced(1.0, 1.0), 3)
    assert epoch(balanced(1.0, 1.0, seed=1), 3) != third


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_rows_of_a_task_count_alike_and_a_step_is_of_one_size(accumulation: int) -> None:
    made = balanced(1.0, 1.0, accumulation=accumulation)

    assert made.steps == -(-20 // accumulation)
    full = made.share(SIZE, accumulated=accumulation, task=1)
    assert made.share(SIZE // 2, accumulated=accumulation, task=1) == pytest.approx(full / 2)
    # The trainer divides by the batches of a step: over an epoch the shares come to one for each step.
    total = sum(made.share(len(batch), accumulated=accumulation, task=task_of(batch)) for batch in epoch(made))
    assert total / accumulation == pytest.approx(made.steps)
