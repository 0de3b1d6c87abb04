"""The order of the rows in training: batches of like length, shuffled anew in every epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

EPOCHS_PER_SEED = 1000  # Two seeds share no order before that many epochs.
MOST_STEPS_SORTED = 50  # Rows are sorted by length among so many steps, so that an epoch is not one sorted list,
FEWEST_PARTS = 4  # and within so many parts of the data where there are few.


class Batches(Sampler[list[int]]):
    """Row numbers in batches of like length, so that little is padded; seed and epoch alone decide which.

    The batches are those of all processes in turn, `accumulation` of them for each process and step, neighbours
    in length. The step with the longest text comes first, so that too little memory shows at once; the one that
    is not full comes last; those between are shuffled. Every epoch has as many batches as any other, and every
    row comes once in it: where the last batches do not go round the processes, the largest are halved. Rows come
    again only where there are fewer of them than processes.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        batch_tokens: int | None = None,
        accumulation: int = 1,
        processes: int = 1,
    ) -> None:
        """Start at epoch 0.

        Args:
            lengths: Tokens of each row, [N], N at least 1.
            batch_size: Rows of a batch, at most.
            seed: Of the order.
            batch_tokens: Tokens of a batch, padding included, at most; a longer row is a batch of its own. None:
                no limit. Rows are then sorted by length over the whole epoch: those of one length change places,
                the longest keep their neighbours.
            accumulation: Batches of each process in an optimiser step.
            processes: How many train together.
        """
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._batches_of_step = accumulation * processes
        self._processes = processes
        self._seed = seed
        self._epoch = 0
        # Which lengths meet in a batch hangs on the order, how many batches there are does not.
        self._count = sum(len(step) for step in self._sorted_steps(range(len(self._lengths))))

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch, from 0."""
        self._epoch = epoch

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-self._count // self._batches_of_step)

    @property
    def rows_of_step(self) -> float:
        """The mean number of rows in an optimiser step."""
        return len(self._lengths) / self.steps

    def share(self, rows: int, *, accumulated: int, task: int = 0) -> float:  # noqa: ARG002 - there is one task here
        """What to multiply the mean loss of a batch by, so that each row of an epoch counts as much as any other.

        A step's gradient is then the sum over its rows, divided by the mean number of rows in a step: a small
        batch gives a small step, and the mean over the steps of an epoch is the mean over its rows. 1 where all
        steps are full and their batches alike.

        Args:
            rows: In the batch.
            accumulated: Batches of this process in the step, over which the trainer takes the mean; it takes it
                over the processes too.
            task: Whose rows they are.
        """
        return rows * accumulated * self._processes / self.rows_of_step

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(EPOCHS_PER_SEED * self._seed + self._epoch)
        *full, last = self._sorted_steps(torch.randperm(len(self._lengths), generator=generator).tolist())
        steps = [full[place] for place in torch.randperm(len(full), generator=generator).tolist()]
        if steps:
            longest = max(range(len(steps)), key=lambda place: self._lengths[steps[place][0][0]])
            steps.insert(0, steps.pop(longest))
        for step in (*steps, last):
            yield from step

    def _sorted_steps(self, order: Sequence[int]) -> list[list[list[int]]]:
        """The batches of each step, longest rows first; rows of one length as they come in the order."""
        batches: list[list[int]] = []
        window = self._window()
        for start in range(0, len(order), window):
            batches += self._cut(sorted(order[start : start + window], key=lambda row: -self._lengths[row]))
        size = self._batches_of_step
        dealt = _going_round(batches, self._processes, last=len(batches) // size * size)
        return [dealt[start : start + size] for start in range(0, len(dealt), size)]

    # A whole number of steps, so that no batch before the last one of all is cut short by the end of a window. Under
    # a limit of tokens there is no such number, and the count of batches would change from epoch to epoch.
    def _window(self) -> int:
        rows = len(self._lengths)
        if self._batch_tokens is not None:
            return rows
        full = self._batch_size * self._batches_of_step
        return full * min(MOST_STEPS_SORTED, max(1, rows // (FEWEST_PARTS * full)))

    def _cut(self, rows: Sequence[int]) -> Iterator[list[int]]:
        start = 0
        while start < len(rows):
            size = self._batch_size
            if self._batch_tokens is not None:
                size = max(1, min(size, self._batch_tokens // max(1, self._lengths[rows[start]])))
            yield list(rows[start : start + size])
            start += size


def _going_round(batches: Sequence[list[int]], processes: int, *, last: int) -> list[list[int]]:
    """The batches, the largest halved until all processes have as many: of those from `last` on, if they have rows."""
    dealt = list(batches)
    while len(dealt) % processes:
        first = last if any(len(batch) > 1 for batch in dealt[last:]) else 0
        largest = max(range(first, len(dealt)), key=lambda place: len(dealt[place]))
        batch = dealt[largest]
        middle = -(-len(batch) // 2)
        dealt[largest : largest + 1] = [batch[:middle], batch[middle:] or batch]
    return dealt
