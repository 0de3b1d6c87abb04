"""An exported encoder and its decoder: transformers with caches and LSTMs with a state, which differ in names alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.generation.sessions import Graph, Value, is_identity, on_host
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.writing import Step

IDS, MASK, LOGITS, STATES = "input_ids", "attention_mask", "logits", "last_hidden_state"
SOURCE_MASK, SOURCE_STATES, BRANCH = "encoder_attention_mask", "encoder_hidden_states", "use_cache_branch"
PRESENT = {"past_key_values": "present", "past_state": "present_state"}
OF_THE_SOURCE = ".encoder."  # in the name of a cache
WHOLE = slice(None)
STATES_LENGTH, CACHE_LENGTH = 1, 2  # axes that are as long as the source


class PairGraph:
    """A graph that reads sources and one that writes. A state is never changed: it may be used again.

    What was made of the source stays apart from what grows with the text: it is copied only when texts are dropped,
    not when the beams of one source change places.
    """

    def __init__(self, reading: Graph, writing: Graph, *, encoder: Encoder, room: int | None) -> None:
        """Join both graphs with the tokenizer; `room` is the number of the decoder's positions, None: any."""
        self._reading, self._writing = reading, writing
        self._encoder = replace(encoder, padding_side="right")
        self._room = room
        pasts = [name for name in writing.input_names if name.startswith(tuple(PRESENT))]
        self._own = [name for name in pasts if OF_THE_SOURCE not in name]
        self._source = [name for name in pasts if OF_THE_SOURCE in name]

    @property
    def room(self) -> int | None:
        """Tokens that the decoder has positions for."""
        return self._room

    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read sources of any lengths, and say what comes first."""
        batch = self._encoder.collate(encoded, input_names=(IDS, MASK))
        made = dict(zip(self._reading.output_names, self._reading.run(self._reading.output_names, batch), strict=True))
        rows = len(encoded)
        # An LSTM's encoder says what its decoder begins with; caches begin empty.
        first = {
            name: made[_present(name)] if _present(name) in made else self._writing.empty(name, rows)
            for name in (*self._own, *self._source)
        }
        source = {SOURCE_MASK: batch[MASK], SOURCE_STATES: made[STATES]}
        numbers = np.arange(rows)
        starts = self._encoder.marks.starts
        step = self._first(_column(starts[0], rows), source=source, past=first, numbers=numbers)
        for token in starts[1:]:
            step = self.step(step.state, _column(token, rows))
        return step

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""
        feeds = {IDS: tokens[:, None], BRANCH: np.ones(1, dtype=np.bool_), **state["source"], **state["own"]}
        logits, *own = self._writing.run((LOGITS, *map(_present, self._own)), feeds)
        return Step(_last(logits), {**state, "own": dict(zip(self._own, own, strict=True))})

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:
        """The state of these texts alone, in this order."""
        before: NDArray[np.int64] = state["numbers"]
        if is_identity(rows, len(before)):
            return state
        numbers = before[rows]
        same = np.array_equal(numbers, before)
        own = {name: self._writing.taken(one, rows, columns=WHOLE, axis=1) for name, one in state["own"].items()}
        source = state["source"] if same else self._kept(state["source"], rows)
        return {"numbers": numbers, "source": source, "own": own}

    def close(self) -> None:
        """Give the memory back."""
        self._reading.close()
        self._writing.close()

    def _first(
        self,
        tokens: NDArray[np.int64],
        *,
        source: Mapping[str, Value],
        past: Mapping[str, Value],
        numbers: NDArray[np.int64],
    ) -> Step:
        feeds = {IDS: tokens[:, None], BRANCH: np.zeros(1, dtype=np.bool_), **source, **past}
        names = (*self._own, *self._source)
        logits, *values = self._writing.run((LOGITS, *map(_present, names)), feeds)
        found = dict(zip(names, values, strict=True))
        made = {name: found[name] for name in self._source}
        own = {name: found[name] for name in self._own}
        return Step(_last(logits), {"numbers": numbers, "source": {**source, **made}, "own": own})

    def _kept(self, source: Mapping[str, Value], rows: Sequence[int]) -> dict[str, Value]:
        # Padding that no source is left for goes, too.
        mask = on_host(source[SOURCE_MASK])[rows]
        columns = slice(0, int(mask.sum(axis=1).max()))
        caches = {
            name: self._writing.taken(source[name], rows, columns=columns, axis=CACHE_LENGTH) for name in self._source
        }
        states = self._writing.taken(source[SOURCE_STATES], rows, columns=columns, axis=STATES_LENGTH)
        return {SOURCE_MASK: mask[:, columns], SOURCE_STATES: states, **caches}


def _present(past: str) -> str:
    kind, _, rest = past.partition(".")
    return f"{PRESENT[kind]}.{rest}"


def _column(token: int, rows: int) -> NDArray[np.int64]:
    return np.full(rows, token, dtype=np.int64)


def _last(logits: Value) -> NDArray[np.float32]:
    return on_host(logits)[:, -1].astype(np.float32, copy=False)  # [B, V]
