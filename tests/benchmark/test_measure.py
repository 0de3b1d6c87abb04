from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from kd_deploy.benchmark.measure import (
    choose_repeats,
    measure_latency,
    measure_texts,
    measure_throughput,
    synthetic_batch,
)
from kd_deploy.measurement import Timing
from tests.benchmark.fakes import CountingAnswerer, CountingRunner


def millisecond_clock() -> Callable[[], float]:
    ticks = count(step=1)
    return lambda: next(ticks) / 1000


def test_warmup_runs_are_made_but_not_counted() -> None:
    runner = CountingRunner()

    timing = measure_latency(
        runner, {"input_ids": np.ones((2, 3), np.int64)}, warmup=3, repeats=5, clock=millisecond_clock()
    )

    assert len(runner.batches) == 3 + 5
    assert timing.samples_ms == pytest.approx((1.0,) * 5)


def test_texts_are_answered_one_at_a_time_and_in_order() -> None:
    answerer = CountingAnswerer()

    timing = measure_texts(answerer, ["a", ("b", "c"), "d"], warmup=2, clock=millisecond_clock())

    assert answerer.calls == [["a"], [("b", "c")], ["a"], [("b", "c")], ["d"]]
    assert timing.samples_ms == pytest.approx((1.0,) * 3)


def test_throughput_counts_the_one_call_over_all_texts() -> None:
    answerer = CountingAnswerer()

    texts_per_s = measure_throughput(answerer, ["a", "b", "c"], warmup=2, clock=millisecond_clock())

    assert answerer.calls == [["a", "b"], ["a", "b", "c"]]
    assert texts_per_s == pytest.approx(3000)


@pytest.mark.parametrize(("pilot_ms", "repeats"), [(1.0, 40), (25.0, 20), (900.0, 5)])
def test_repeats_fit_the_budget_between_the_two_limits(pilot_ms: float, repeats: int) -> None:
    pilot = Timing(samples_ms=(pilot_ms, pilot_ms))

    assert choose_repeats(pilot, budget_ms=500, least=5, most=40) == repeats


def test_synthetic_batch_has_the_runners_inputs_no_padding_and_known_ids() -> None:
    names = ("input_ids", "token_type_ids", "attention_mask")

    batch = synthetic_batch(names, vocabulary_size=7, batch_size=4, sequence_length=50)

    assert tuple(batch) == names
    assert {array.shape for array in batch.values()} == {(4, 50)}
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert set(np.unique(batch["input_ids"])) == {1, 2, 3, 4, 5, 6}
    assert batch["attention_mask"].min() == 1
    assert batch["token_type_ids"].max() == 0


@pytest.mark.parametrize(("length", "masks"), [(1, 1), (7, 1), (16, 3), (128, 19)])
def test_one_token_in_seven_is_to_be_filled_by_a_model_that_does(length: int, masks: int) -> None:
    batch = synthetic_batch(("input_ids",), vocabulary_size=500, batch_size=4, sequence_length=length, mask_id=600)

    assert ((batch["input_ids"] == 600).sum(axis=1) == masks).all()


def test_an_input_that_the_runner_does_not_take_is_not_given() -> None:
    assert set(synthetic_batch(("input_ids",), vocabulary_size=7, batch_size=1, sequence_length=2)) == {"input_ids"}
