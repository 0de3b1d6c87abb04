"""The order of rows: every row once, like lengths together, and the same again after an interruption or a split."""

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from torch.utils.data import DataLoader

from kd_deploy.distill.sampling import Batches

RNG = random.Random(0)
LENGTHS = [min(64, 3 + int(RNG.expovariate(0.1))) for _ in range(1003)]  # many short texts, a tail of long ones
BUDGET = 200


def batches(lengths: list[int] = LENGTHS, *, epoch: int = 0, seed: int = 0, **settings: Any) -> Batches:
    made = Batches(lengths, **{"batch_size": 8, "seed": seed} | settings)
    made.set_epoch(epoch)
    return made


def padded(batch: list[int], lengths: list[int] = LENGTHS) -> int:
    return len(batch) * max(lengths[row] for row in batch)


def shards(made: Batches, *, processes: int) -> list[list[list[int]]]:
    """What each process gets, as accelerate deals it out under Trainer's settings."""
    return [
        list(BatchSamplerShard(made, num_processes=processes, process_index=number, even_batches=True))
        for number in range(processes)
    ]


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": BUDGET}, {"accumulation": 3}, {"accumulation": 100}])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 1003])
def test_an_epoch_has_every_row_once_in_batches_of_at_most_so_many(rows: int, settings: dict[str, Any]) -> None:
    made = batches(LENGTHS[:rows], **settings)

    found = list(made)

    assert sorted(itertools.chain(*found)) == list(range(rows))
    assert len(found) == len(made)
    assert all(1 <= len(batch) <= 8 for batch in found)


def test_without_a_budget_all_batches_but_the_last_are_full() -> None:
    *full, last = list(batches())

    assert {len(batch) for batch in full} == {8}
    assert len(last) == 1003 % 8


def test_a_budget_limits_padded_tokens() -> None:
    found = list(batches(batch_tokens=BUDGET))

    assert max(padded(batch) for batch in found) <= BUDGET
    assert len({len(batch) for batch in found}) > 3
    assert sum(padded(batch) for batch in found) < 1.1 * sum(LENGTHS)


def test_a_row_over_the_budget_is_a_batch_of_its_own() -> None:
    assert sorted(batches([5, 5, 90, 5], batch_tokens=20)) == [[0, 1, 3], [2]]


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": BUDGET}])
def test_seed_and_epoch_alone_decide(settings: dict[str, Any]) -> None:
    first = list(batches(**settings))

    assert list(batches(**settings)) == first
    changes: tuple[dict[str, Any], ...] = ({"epoch": 1}, {"seed": 1})
    for other in changes:
        again = list(batches(**settings, **other))
        assert again != first
        assert sorted(map(sorted, again)) != sorted(map(sorted, first))


@pytest.mark.parametrize("processes", [1, 3])
def test_every_epoch_has_as_many_steps(processes: int) -> None:
    made = batches(batch_tokens=BUDGET, accumulation=2, processes=processes)
    counts = set()
    for epoch in range(5):
        made.set_epoch(epoch)
        counts.add(len(list(made)))

    assert counts == {len(made)}
    assert made.steps == -(-len(made) // (2 * processes))


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": BUDGET}])
def test_little_is_padded_and_lengths_come_in_no_order(settings: dict[str, Any]) -> None:
    found = list(batches(**settings))
    longest = [max(LENGTHS[row] for row in batch) for batch in found]
    falls = sum(left > right for left, right in itertools.pairwise(longest))

    assert sum(padded(batch) for batch in found) < 1.2 * sum(LENGTHS)
    assert longest[0] == max(LENGTHS)
    assert 0.3 < falls / len(longest) < 0.7


@pytest.mark.parametrize("accumulation", [2, 4])
def test_small_batches_of_a_step_hold_the_rows_of_one_large_batch(accumulation: int) -> None:
    large = list(batches(batch_size=16))
    small = list(batches(batch_size=16 // accumulation, accumulation=accumulation))

    steps = [list(itertools.chain(*small[at : at + accumulation])) for at in range(0, len(small), accumulation)]

    assert steps == large


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("settings", [{}, {"batch_tokens": BUDGET}])
def test_processes_share_an_epoch_without_a_row_lost_or_seen_twice(
    processes: int, accumulation: int, settings: dict[str, Any]
) -> None:
    for rows in range(996, 1004):
        made = batches(LENGTHS[:rows], processes=processes, accumulation=accumulation, **settings)

        dealt = shards(made, processes=processes)

        assert sorted(itertools.chain(*itertools.chain(*dealt))) == list(range(rows))
        assert len({len(one) for one in dealt}) == 1
        assert -(-len(dealt[0]) // accumulation) == made.steps


def test_a_last_row_alone_takes_no_other_process_a_copy() -> None:
    made = batches(LENGTHS[:9], batch_size=4, processes=2)

    first, second = shards(made, processes=2)

    assert sorted(itertools.chain(*first, *second)) == list(range(9))
    assert len(first) == len(second) == 2


def test_rows_are_seen_again_where_there_are_more_processes() -> None:
    dealt = shards(batches([5, 6], processes=3), processes=3)

    assert [len(one) for one in dealt] == [1, 1, 1]
    assert Counter(itertools.chain(*itertools.chain(*dealt))) in ({0: 1, 1: 2}, {0: 2, 1: 1})


def test_processes_take_the_steps_that_one_takes_alone() -> None:
    alone = list(batches(LENGTHS[:101], batch_size=8))

    first, second = shards(batches(LENGTHS[:101], batch_size=4, processes=2), processes=2)

    assert [left + right for left, right in zip(first, second, strict=True)] == alone


def test_a_batch_counts_by_its_rows() -> None:
    made = batches(LENGTHS[:101], processes=2, accumulation=2)
    per_process = len(made) // 2
    shares = [made.share(len(batch), accumulated=2) / 2 / 2 for batch in made][: 2 * 2 * (per_process // 2)]

    weights = {round(share / len(batch), 9) for share, batch in zip(shares, made, strict=False)}

    assert weights == {round(made.steps / 101, 9)}
    assert batches(LENGTHS[:96]).share(8, accumulated=1) == 1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"batch_tokens": BUDGET}])
def test_batches_that_are_skipped_leave_the_others_as_they_are(processes: int, settings: dict[str, Any]) -> None:
    made = batches(LENGTHS[:103], processes=processes, **settings)
    loader = DataLoader(LENGTHS[:103], batch_sampler=made, collate_fn=list)  # type: ignore[arg-type, var-annotated]
    prepared = prepare_data_loader(loader, num_processes=processes, process_index=0, put_on_device=False)
    made.set_epoch(3)
    whole = list(prepared.batch_sampler)

    skipped = skip_first_batches(prepared, 4)

    assert list(skipped.batch_sampler) == whole[4:]
