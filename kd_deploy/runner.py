"""What every model looks like to those who measure and compare it: arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[np.int64]]
Outputs = dict[str, NDArray[np.float32]]


class Runner(Protocol):
    """A model that is loaded: `run` maps named arrays [B, S] to named arrays."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that `run` takes."""

    def run(self, batch: Batch) -> Outputs:
        """One forward pass over a padded batch."""

    def close(self) -> None:
        """Give the memory back; `run` may not be called after."""


class Answerer(Protocol):
    """A model with its tokenizer: texts in, answers out, in the order of the texts."""

    @property
    def runner(self) -> Runner:
        """The bare model under it."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this number."""

    @property
    def mask_id(self) -> int | None:
        """The token that it fills; None: it fills none."""

    @property
    def max_length(self) -> int:
        """Tokens that are read at once: longer inputs are cut to them, or read in pieces."""

    @property
    def batch_size(self) -> int | None:
        """Texts in a batch of `predict`; None: as many as fit, by their length."""

    @property
    def via(self) -> str:
        """By which road texts become answers, as a report names it."""

    def predict(self, inputs: Sequence[str | tuple[str, str]]) -> Sequence[object]:
        """Answer every input."""


def parity_error(left: Outputs, right: Outputs) -> float:
    """The largest absolute difference between two runs; infinite where one of them is not finite."""
    worst = 0.0
    for name, values in left.items():
        difference = np.abs(values - right[name])
        worst = max(worst, float(np.max(difference, initial=0.0)) if np.isfinite(difference).all() else float("inf"))
    return worst
