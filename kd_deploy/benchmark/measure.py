"""Timing one model in this process: warm-up, repeats, a clock that can be replaced."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from kd_deploy.measurement import Timing
from kd_deploy.runner import Answerer, Batch, Runner

EACH_MASKED = 7
Clock = Callable[[], float]
TextInput = str | tuple[str, str]


def measure_latency(
    runner: Runner, batch: Batch, *, warmup: int, repeats: int, clock: Clock = time.perf_counter
) -> Timing:
    """The time of each forward pass over one batch; warm-up passes are made but not counted.

    Args:
        runner: The bare model.
        batch: Arrays [B, S], under the runner's input names.
        warmup: Passes before the first that counts.
        repeats: Passes that count, at least 1.
        clock: Seconds, from any start.
    """
    for _ in range(warmup):
        runner.run(batch)
    return Timing(samples_ms=tuple(_time_ms(partial(runner.run, batch), clock) for _ in range(repeats)))


class Predicts(Protocol):
    """What answers texts, as far as timing it goes."""

    def predict(self, inputs: Sequence[TextInput]) -> Sequence[object]:
        """Answer every input."""


def measure_texts(
    answerer: Predicts, inputs: Sequence[TextInput], *, warmup: int, clock: Clock = time.perf_counter
) -> Timing:
    """The time of each text from text to answer, one at a time, in their order.

    Args:
        answerer: The model with its tokenizer.
        inputs: Texts or pairs, at least one; the first of them are the warm-up too.
        warmup: Texts answered before the first that counts.
        clock: Seconds, from any start.
    """
    for one in inputs[:warmup]:
        answerer.predict([one])
    return Timing(samples_ms=tuple(_time_ms(partial(answerer.predict, [one]), clock) for one in inputs))


class Counting:
    """An answerer that remembers how many tokens each call of `predict` wrote; None where answers have none."""

    def __init__(self, answerer: Answerer) -> None:
        """Take the one that answers."""
        self._answerer = answerer
        self.tokens: list[int | None] = []

    def predict(self, inputs: Sequence[TextInput]) -> Sequence[object]:
        """Answer every input."""
        answers = self._answerer.predict(inputs)
        counts = [len(one.tokens) for one in answers if hasattr(one, "tokens")]
        self.tokens.append(sum(counts) if counts else None)
        return answers


def measure_throughput(
    answerer: Answerer, inputs: Sequence[TextInput], *, warmup: int, clock: Clock = time.perf_counter
) -> float:
    """Texts answered in a second when all inputs are given at once.

    Args:
        answerer: The model with its tokenizer; it chooses its own batches.
        inputs: Texts or pairs, at least one.
        warmup: How many of the inputs are answered, at once, before the call that counts.
        clock: Seconds, from any start.
    """
    if warmup:
        answerer.predict(inputs[:warmup])
    return 1e3 * len(inputs) / _time_ms(partial(answerer.predict, inputs), clock)


def choose_repeats(pilot: Timing, *, budget_ms: float, least: int, most: int) -> int:
    """How many repeats fit into a budget of time, between `least` and `most`.

    Fixed before the repeats begin: a loop that stops on its own times would favour the fast ones.
    """
    return max(least, min(most, math.floor(budget_ms / statistics.median(pilot.samples_ms))))


def synthetic_batch(
    input_names: Sequence[str],
    *,
    vocabulary_size: int,
    batch_size: int,
    sequence_length: int,
    mask_id: int | None = None,
    seed: int = 0,
) -> Batch:
    """Arrays [B, S] of random token ids without padding, for the inputs that the runner names.

    Id 0 is left out: in most vocabularies it is the padding. Where a model fills masks, one token in seven is one, as
    in the texts that it is judged by, and the first in any case.
    """
    shape = (batch_size, sequence_length)
    generator = np.random.default_rng(seed)
    ids = generator.integers(1, max(2, vocabulary_size), size=shape, dtype=np.int64)
    if mask_id is not None:
        ids[:, ::EACH_MASKED] = mask_id
    arrays = {
        "input_ids": ids,
        "attention_mask": np.ones(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }
    return {name: arrays[name] for name in input_names if name in arrays}


def _time_ms(action: Callable[[], object], clock: Clock) -> float:
    start = clock()
    action()
    return 1e3 * (clock() - start)
