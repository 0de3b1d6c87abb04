"""Exported models that write, as decoders: a language model with its cache, or an encoder with its decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.bundle import DECODER, ENCODER, LAST_LOGITS, WHOLE
from kd_deploy.errors import BundleError
from kd_deploy.runner import Batch, Outputs
from kd_deploy.runtime.generation.pairs import BRANCH, PRESENT, SOURCE_MASK, SOURCE_STATES, PairGraph
from kd_deploy.runtime.generation.sessions import Array, Graph, Value, is_identity, on_host
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.writing import Decoder, Step

LOGITS, IDS, MASK, POSITIONS = "logits", "input_ids", "attention_mask", "position_ids"
CACHE_LENGTH = 2  # the axis of a cache that grows
PAST = "past_key_values"
READ_AT_ONCE = 256  # tokens of a batch: another's graph makes logits of them all, which a large vocabulary makes large
ONE = np.array(1, dtype=np.int64)


def open_decoder(
    files: Mapping[str, Path],
    *,
    encoder: Encoder,
    provider: str = "cpu",
    threads: int | None = None,
    room: int | None = None,
) -> Decoder:
    """The decoder over the graphs of a model that writes.

    Args:
        files: The path of each graph: of "model", or of "encoder_model" and "decoder_model_merged".
        encoder: The model's tokenizer, with the marks around its texts.
        provider: cpu, cuda, or any other that this onnxruntime has.
        threads: Threads of one run. None: the cores that this process may use.
        room: Tokens that the model has positions for. None: of a language model the encoder's max_length, of an
            encoder-decoder any number.

    Raises:
        BenchmarkError: The provider is not there, or does not start.
        BundleError: A graph cannot be opened, or is not of a model that writes.
    """
    if WHOLE in files:
        graph = Graph(files[WHOLE], provider=provider, threads=threads)
        _check(graph, files[WHOLE], wanted=(IDS, MASK, f"{PAST}.0.key"), further=(POSITIONS,))
        return CausalGraph(graph, encoder, room=encoder.max_length if room is None else room)
    missing = {ENCODER, DECODER} - set(files)
    if missing:
        raise BundleError(f"there is no {min(missing)} among the graphs: {', '.join(files)}", hint="export again")
    if not encoder.marks.starts:
        raise BundleError("nothing says with which token the decoder begins", hint="name decoder_start_token_id")
    reading = Graph(files[ENCODER], provider=provider, threads=threads)
    writing = Graph(files[DECODER], provider=provider, threads=threads)
    _check(reading, files[ENCODER], wanted=(IDS, MASK))
    _check(writing, files[DECODER], wanted=(IDS,), further=(SOURCE_MASK, SOURCE_STATES, BRANCH))
    return PairGraph(reading, writing, encoder=encoder, room=room)


def _check(graph: Graph, path: Path, *, wanted: Sequence[str], further: Sequence[str] = ()) -> None:
    hint = "export the model again, as one that writes"
    missing = [name for name in wanted if name not in graph.input_names]
    if missing:
        raise BundleError(f"{path} takes no {missing[0]}, only {', '.join(graph.input_names)}", hint=hint)
    known = (*wanted, *further)
    strange = [name for name in graph.input_names if name not in known and not name.startswith(tuple(PRESENT))]
    if strange:
        raise BundleError(f"{path} asks for {strange[0]}, which nobody gives it", hint=hint)


class CausalGraph:
    """A language model in one graph. A state is never changed: it may be used again after `step` and `keep`.

    It is a Runner as well, which reads whole texts.
    """

    def __init__(self, graph: Graph, encoder: Encoder, *, room: int | None) -> None:
        """Join a graph with the tokenizer of its prompts; `room` is the number of its positions."""
        self._graph = graph
        self._encoder = replace(encoder, padding_side="left")
        self._room = room
        self._pasts = tuple(name for name in graph.input_names if name.startswith(PAST))
        self._outputs = (LOGITS, *(name.replace(PAST, PRESENT[PAST]) for name in self._pasts))

    @property
    def room(self) -> int | None:
        """Tokens that it has positions for, those of a prompt among them."""
        return self._room

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that `run` takes."""
        return (IDS, MASK)

    def run(self, batch: Batch) -> Outputs:
        """The logits [B, S, V] of what follows each token of texts [B, S], padded on either side."""
        rows = len(batch[IDS])
        past = {name: self._graph.empty(name, rows) for name in self._pasts}
        feeds = {IDS: batch[IDS], MASK: batch[MASK], POSITIONS: _positions(batch[MASK]), **past}
        return {LOGITS: on_host(self._graph.run((LOGITS,), feeds)[0]).astype(np.float32, copy=False)}

    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read prompts of any lengths, and say what comes first."""
        batch = self._encoder.collate(encoded, input_names=(IDS, MASK))
        ids, mask, positions = batch[IDS], batch[MASK], _positions(batch[MASK])
        width, columns = ids.shape[1], max(1, READ_AT_ONCE // len(ids))
        past: Mapping[str, Value] = {name: self._graph.empty(name, len(ids)) for name in self._pasts}
        for begin in range(0, width, columns):
            end = min(begin + columns, width)
            step = self._step(ids[:, begin:end], mask[:, :end], positions=positions[:, begin:end], past=past)
            past = step.state["past"]
        return step

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""
        before: NDArray[np.int64] = state["mask"]
        mask = np.concatenate([before, np.ones((len(tokens), 1), dtype=np.int64)], axis=1)
        positions = before.sum(axis=1, keepdims=True)  # [B, 1]
        return self._step(tokens[:, None], mask, positions=positions, past=state["past"])

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:
        """The state of these texts alone; columns in which none of them has a token are left out."""
        mask: NDArray[np.int64] = state["mask"]
        if is_identity(rows, len(mask)):
            return state
        kept = mask[rows]
        columns = slice(int(kept.any(axis=0).argmax()), None)
        past = {
            name: self._graph.taken(value, rows, columns=columns, axis=CACHE_LENGTH)
            for name, value in state["past"].items()
        }
        return {"mask": kept[:, columns], "past": past}

    def close(self) -> None:
        """Give the memory back."""
        self._graph.close()

    def _step(
        self, ids: NDArray[np.int64], mask: NDArray[np.int64], *, positions: Array, past: Mapping[str, Value]
    ) -> Step:
        feeds = {IDS: ids, MASK: mask, POSITIONS: positions, LAST_LOGITS: ONE, **past}
        logits, *presents = self._graph.run(self._outputs, feeds)
        last = on_host(logits)[:, -1].astype(np.float32, copy=False)  # [B, V]
        return Step(last, {"mask": mask, "past": dict(zip(self._pasts, presents, strict=True))})


def _positions(mask: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.maximum(mask.cumsum(axis=1) - 1, 0)  # [B, S]
    return found
