"""Torch models that write, as decoders: any causal language model or encoder-decoder of transformers, and our LSTM.

No state is ever changed: it may be used again after `step` and `keep`. Caches grow by making new tensors, and what
holds them is copied without them.
"""

import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq
from kd_deploy.errors import BundleError
from kd_deploy.runtime.generation.sessions import is_identity
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.writing import Decoder, Step

IDS, MASK = "input_ids", "attention_mask"
State = Mapping[str, Any]


def torch_decoder(model: nn.Module, encoder: Encoder, *, device: str = "cpu") -> Decoder:
    """The decoder over a torch model, which is taken to a device and put into evaluation mode.

    Args:
        model: A causal language model or an encoder-decoder of transformers, or our LSTM.
        encoder: Its tokenizer, with the marks around texts.
        device: cpu, cuda, or what else this torch has.

    Raises:
        BundleError: An encoder-decoder, and nothing says with which token its decoder begins.
    """
    model.to(device).eval()
    ours = isinstance(model, LstmSeq2Seq)
    if not ours and not getattr(model.config, "is_encoder_decoder", False):
        return CausalDecoder(model, encoder, device=device)
    if not encoder.marks.starts:
        raise BundleError("nothing says with which token the decoder begins", hint="name decoder_start_token_id")
    return (RecurrentDecoder if ours else PairDecoder)(model, encoder, device=device)


class CausalDecoder:
    """A language model with its cache; prompts are padded on the left."""

    def __init__(self, model: nn.Module, encoder: Encoder, *, device: str) -> None:
        """Join a model with the tokenizer of its prompts."""
        self._model: Any = model
        self._encoder = replace(encoder, padding_side="left")
        self._device = device
        self._takes = frozenset(inspect.signature(model.forward).parameters)

    @property
    def room(self) -> int | None:
        """Tokens that it has positions for, those of a prompt among them."""
        return _room(self._model)

    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read prompts of any lengths, and say what comes first."""
        ids, mask = _collated(encoded, self._encoder, device=self._device)
        return self._step(ids, mask, DynamicCache(config=self._model.config))

    def step(self, state: State, tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""
        mask = torch.cat([state["mask"], state["mask"].new_ones(len(tokens), 1)], dim=1)
        return self._step(_column(tokens, self._device), mask, _copied(state["cache"]))

    def keep(self, state: State, rows: Sequence[int]) -> State:
        """The state of these texts alone, in this order."""
        if is_identity(rows, len(state["mask"])):
            return state
        chosen = torch.tensor(rows, device=self._device)
        return {"mask": state["mask"][chosen], "cache": _selected(state["cache"], chosen)}

    def close(self) -> None:
        """Let the model go."""
        del self._model

    @torch.inference_mode()
    def _step(self, ids: Tensor, mask: Tensor, cache: Cache) -> Step:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # [B, T]
        further = {"position_ids": positions, "logits_to_keep": 1}
        found = self._model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in further.items() if name in self._takes},
        )
        return Step(_last(found.logits), {"mask": mask, "cache": found.past_key_values})


class PairDecoder:
    """An encoder-decoder transformer; sources are padded on the right.

    Keys and values of the source are copied only when texts are dropped, not when the beams of one source change
    places.
    """

    def __init__(self, model: nn.Module, encoder: Encoder, *, device: str) -> None:
        """Join a model with its tokenizer."""
        self._model: Any = model
        self._encoder = replace(encoder, padding_side="right")
        self._device = device

    @property
    def room(self) -> int | None:
        """Tokens that the decoder has positions for."""
        return _room(self._model)

    @torch.inference_mode()
    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read sources of any lengths, and say what comes first."""
        ids, mask = _collated(encoded, self._encoder, device=self._device)
        states = self._model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        source = {"numbers": np.arange(len(encoded)), "mask": mask, "states": states}
        return self._step(_starts(self._encoder, len(encoded), device=self._device), {**source, "cache": cache})

    @torch.inference_mode()
    def step(self, state: State, tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""
        cache = state["cache"]
        copies = EncoderDecoderCache(_copied(cache.self_attention_cache), _copied(cache.cross_attention_cache))
        return self._step(_column(tokens, self._device), {**state, "cache": copies})

    def keep(self, state: State, rows: Sequence[int]) -> State:
        """The state of these texts alone, in this order."""
        if is_identity(rows, len(state["numbers"])):
            return state
        chosen = torch.tensor(rows, device=self._device)
        own, made = state["cache"].self_attention_cache, state["cache"].cross_attention_cache
        source = _kept_source(state, chosen)
        same = source["states"] is state["states"]
        return {
            **source,
            "cache": EncoderDecoderCache(_selected(own, chosen), made if same else _selected(made, chosen)),
        }

    def close(self) -> None:
        """Let the model go."""
        del self._model

    def _step(self, ids: Tensor, state: State) -> Step:
        found = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=state["states"]),
            attention_mask=state["mask"],
            decoder_input_ids=ids,
            past_key_values=state["cache"],
            use_cache=True,
        )
        return Step(_last(found.logits), {**state, "cache": found.past_key_values})


class RecurrentDecoder:
    """Our LSTM encoder-decoder, whose state stays of one size."""

    def __init__(self, model: nn.Module, encoder: Encoder, *, device: str) -> None:
        """Join a model with its tokenizer."""
        self._model: Any = model
        self._encoder = replace(encoder, padding_side="right")
        self._device = device

    @property
    def room(self) -> None:
        """It has no positions: any number of tokens."""
        return

    @torch.inference_mode()
    def start(self, encoded: Sequence[Encoded]) -> Step:
        """Read sources of any lengths, and say what comes first."""
        ids, mask = _collated(encoded, self._encoder, device=self._device)
        states, first = self._model.encode(ids, mask)
        starts = _starts(self._encoder, len(encoded), device=self._device)
        source = {"numbers": np.arange(len(encoded)), "mask": mask, "states": states}
        return self._step(starts, {**source, "own": first})

    @torch.inference_mode()
    def step(self, state: State, tokens: NDArray[np.int64]) -> Step:
        """Append a token [B] to every text, and say what comes next."""
        return self._step(_column(tokens, self._device), state)

    def keep(self, state: State, rows: Sequence[int]) -> State:
        """The state of these texts alone, in this order."""
        if is_identity(rows, len(state["numbers"])):
            return state
        chosen = torch.tensor(rows, device=self._device)
        own = {name: value[chosen] for name, value in state["own"].items()}
        return {**_kept_source(state, chosen), "own": own}

    def close(self) -> None:
        """Let the model go."""
        del self._model

    def _step(self, ids: Tensor, state: State) -> Step:
        logits, own = self._model.decode(ids, state["states"], state["mask"], state["own"])
        return Step(_last(logits), {**state, "own": own})


def _collated(encoded: Sequence[Encoded], encoder: Encoder, *, device: str) -> tuple[Tensor, Tensor]:
    batch = encoder.collate(encoded, input_names=(IDS, MASK))
    return torch.from_numpy(batch[IDS]).to(device), torch.from_numpy(batch[MASK]).to(device)


def _starts(encoder: Encoder, rows: int, *, device: str) -> Tensor:
    return torch.tensor([list(encoder.marks.starts)] * rows, device=device)  # [B, T]


def _column(tokens: NDArray[np.int64], device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(tokens)).to(device)[:, None]  # [B, 1]


def _last(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits[:, -1].float().cpu().numpy()  # [B, V]
    return found


def _room(model: Any) -> int | None:
    room: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return room


def _kept_source(state: State, rows: Tensor) -> dict[str, Any]:
    # Where each text has the source that stood there before, nothing is copied.
    numbers: NDArray[np.int64] = state["numbers"][rows.cpu().numpy()]
    same = np.array_equal(numbers, state["numbers"])
    kept = {name: state[name] if same else state[name][rows] for name in ("mask", "states")}
    return {"numbers": numbers, **kept}


def _copied(cache: Cache) -> Cache:
    # Layers replace their tensors when they grow, and never write into them: the tensors need no copies.
    found = copy(cache)
    found.layers = [copy(layer) for layer in cache.layers]
    return found


def _selected(cache: Cache, rows: Tensor) -> Cache:
    found = _copied(cache)
    found.batch_select_indices(rows)
    return found
