"""Texts that a model writes token by token: what they begin and end with, and what any such model looks like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kd_deploy.tasks.encoding import Encoded

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a model wrote after a prompt or for a source, and whether it ended by itself.

    `tokens` are without those that only say that the text is over; `log_probability` is of them, in nats, with the
    one that ended it.
    """

    text: str
    tokens: tuple[int, ...]
    ended: bool
    log_probability: float

    def to_json(self) -> dict[str, object]:
        """The text, how many tokens it has, and whether it ended by itself."""
        return {"text": self.text, "tokens": len(self.tokens), "ended": self.ended}


@dataclass(frozen=True, slots=True)
class Step:
    """What is known of the next token of every text, [B, V], and what the model needs to go on."""

    logits: Logits
    state: Mapping[str, Any]


class Decoder(Protocol):
    """A model that writes: a decoder with its cache, a pair of encoder and decoder, an LSTM with its state.

    It keeps nothing between two calls: all that a text needs to go on is in the state of its step.
    """

    @property
    def room(self) -> int | None:
        """Tokens that it has positions for, those of a prompt among them; None: any number."""

    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read prompts or sources of any lengths, a text each, and say what comes first."""

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:
        """The state of these texts alone, in this order; one may come several times."""

    def close(self) -> None:
        """Give the memory back."""
