"""The order of the rows in training: batches of like length, shuffled anew in every epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler

EPOCHS_PER_SEED = 1000  # Two seeds share no order before that many epochs.


class ByLength(Sampler[int]):
    """Row numbers in batches of like length, so that little is padded; seed and epoch alone decide the order.

    A training that is taken up in its third epoch sees what an uninterrupted one sees there.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        """Start at epoch 0; the trainer's loader calls `set_epoch` before every other."""
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(EPOCHS_PER_SEED * self._seed + self._epoch)
        return iter(LengthGroupedSampler(self._batch_size, lengths=self._lengths, generator=generator))
