"""The order of batches where several tasks are learned together: as many of each as its weight says, at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from kd_deploy.distill.sampling import EPOCHS_PER_SEED, Batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The batches of one task by itself, and how many of them an epoch has for each of the largest task's."""

    batches: Batches
    weight: float = 1.0


class Balanced(Sampler[list[int]]):
    """Row numbers in batches, each of one task; the rows of a task are counted on from those before it.

    An epoch has, of each task, as many batches as the largest task has times the task's weight. A task with fewer
    begins again, in a new order; one with more goes on in the next epoch where it was. Between them the order is
    random; the batch with the longest text comes first, so that too little memory shows at once. Seed and epoch
    alone decide.
    """

    def __init__(self, shares: Sequence[Share], *, rows: Sequence[Sequence[int]], seed: int, accumulation: int) -> None:
        """Start at epoch 0.

        Args:
            shares: The tasks, each with batches of one process and one batch a step.
            rows: Tokens of each row, task by task.
            seed: Of the order between the tasks.
            accumulation: Batches in an optimiser step.
        """
        self._batches = [share.batches for share in shares]
        largest = max(len(batches) for batches in self._batches)
        self.counts = tuple(max(1, round(share.weight * largest)) for share in shares)
        self._starts = [sum(map(len, rows[:task])) for task in range(len(rows))]
        self._lengths = [length for one in rows for length in one]
        self._seed = seed
        self._accumulation = accumulation
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch, from 0."""
        self._epoch = epoch

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-len(self) // self._accumulation)

    def share(self, rows: int, *, accumulated: int, task: int = 0) -> float:
        """What to multiply the mean loss of a batch by, so that the rows of a task count alike.

        Args:
            rows: In the batch.
            accumulated: Batches in the step, over which the trainer takes the mean.
            task: Whose rows they are.
        """
        return self._batches[task].share(rows, accumulated=1) * accumulated * self.steps / len(self)

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(EPOCHS_PER_SEED * self._seed + self._epoch)
        drawn = [batch for task in range(len(self._batches)) for batch in self._drawn(task)]
        order = torch.randperm(len(drawn), generator=generator).tolist()
        longest = max(order, key=lambda place: max(self._lengths[row] for row in drawn[place]))
        order.insert(0, order.pop(order.index(longest)))
        for place in order:
            yield drawn[place]

    def _drawn(self, task: int) -> Iterator[list[int]]:
        batches, count, start = self._batches[task], self.counts[task], self._starts[task]
        first, due = self._epoch * count, count
        while due:
            own_epoch, passed = divmod(first, len(batches))
            batches.set_epoch(own_epoch)
            taken = list(batches)[passed : passed + due]
            yield from ([start + row for row in batch] for batch in taken)
            first, due = first + len(taken), due - len(taken)
