"""One batch through a torch model at once, and through its graphs step by step: the same arrays from both.

A batch has the tokens that are read, `input_ids` and `attention_mask` [B, S], and those that are then written,
`written` [B, T]. What comes back is without padding, which means nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from kd_deploy.bundle import DECODER, ENCODER, WHOLE
from kd_deploy.export.generation.causal import KINDS
from kd_deploy.export.generation.lstm import PAST_STATE, PRESENT_STATE, STATE, Recurrent, is_recurrent
from kd_deploy.export.generation.seq2seq import SIDES
from kd_deploy.export.generation.tracing import pairs_of
from kd_deploy.runner import Batch, Outputs
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.writing import Logits

STEPS = (2, 1, 3)  # tokens of the steps that write: one, as in writing, and several
DUMMY = 3  # positions of a past that is to be ignored
POSITIONS = 2  # the axis of a cache on which they lie

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphs:
    """The graphs of a model, open, and the shapes of their inputs, None where an axis is free."""

    runners: Mapping[str, OrtRunner]
    shapes: Mapping[str, Sequence[int | None]]

    @classmethod
    def open(cls, files: Mapping[str, Path]) -> "Graphs":
        """The graphs of these files, by the parts of the model.

        Raises:
            BundleError: A file is not a graph that onnxruntime can open.
        """
        shapes = {
            one.name: [axis.dim_value or None for axis in one.type.tensor_type.shape.dim]
            for path in files.values()
            for one in onnx.load(path, load_external_data=False).graph.input
        }
        return cls(runners={part: OrtRunner(path) for part, path in files.items()}, shapes=shapes)

    def run(self, part: str, arrays: Arrays) -> Outputs:
        """One pass through a graph, with arrays of any type."""
        return self.runners[part].run(cast("Batch", arrays))

    def past(self, *, rows: int, length: int) -> Arrays:
        """A cache of so many positions, of ones."""
        return {
            name: np.ones([rows, shape[1] or 0, length, shape[3] or 0], dtype=np.float32)
            for name, shape in self.shapes.items()
            if name.startswith("past_key_values.")
        }

    def close(self) -> None:
        """Free the sessions."""
        for one in self.runners.values():
            one.close()


def at_once(model: nn.Module, batch: Batch) -> Outputs:
    """What a torch model says of a batch in one pass, without a cache to begin with."""
    tensors = {name: torch.from_numpy(np.asarray(values)) for name, values in batch.items()}
    with torch.inference_mode():
        if is_recurrent(model):
            found = _recurrent(cast("Recurrent", model), tensors)
        elif cast("PreTrainedModel", model).config.is_encoder_decoder:
            found = _encoder_decoder(cast("PreTrainedModel", model), tensors)
        else:
            found = _causal(cast("PreTrainedModel", model), tensors)
    return {name: values.numpy() for name, values in found.items()}


def in_steps(graphs: Graphs, batch: Batch) -> Outputs:
    """What the graphs of a model say of a batch, read first and then written in steps."""
    if WHOLE in graphs.runners:
        return _causal_steps(graphs, batch)
    if PAST_STATE[0] in graphs.shapes:
        return _recurrent_steps(graphs, batch)
    return _encoder_decoder_steps(graphs, batch)


def _causal(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ids = torch.cat([batch["input_ids"], batch["written"]], dim=1)
    mask = torch.cat([batch["attention_mask"], torch.ones_like(batch["written"])], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    found = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    real = mask > 0
    return {"logits": found.logits[real], **_cache(found.past_key_values, KINDS, real=real)}


def _encoder_decoder(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mask = batch["attention_mask"]
    states = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
    found = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=mask,
        decoder_input_ids=batch["written"],
        use_cache=True,
    )
    cache = found.past_key_values
    return {
        "last_hidden_state": states[mask > 0],
        "logits": found.logits,
        **_cache(cache.self_attention_cache, SIDES[:2], real=torch.ones_like(batch["written"]) > 0),
        **_cache(cache.cross_attention_cache, SIDES[2:], real=mask > 0),
    }


def _recurrent(model: Recurrent, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mask = batch["attention_mask"]
    states, state = model.encode(batch["input_ids"], mask)
    logits, after = model.decode(batch["written"], states, mask, state)
    first = {f"first.{name}": state[name] for name in STATE}
    last = {name: after[part] for name, part in zip(PRESENT_STATE, STATE, strict=True)}
    return {"last_hidden_state": states[mask > 0], "logits": logits, **first, **last}


def _cache(cache: DynamicCache, kinds: Sequence[str], *, real: Tensor) -> dict[str, Tensor]:
    return {
        f"present.{layer}.{kind}": one.transpose(1, POSITIONS)[real]
        for layer, pair in enumerate(pairs_of(cache))
        for kind, one in zip(kinds, pair, strict=True)
    }


def _causal_steps(graphs: Graphs, batch: Batch) -> Outputs:
    mask, past = batch["attention_mask"][:, :0], graphs.past(rows=len(batch["input_ids"]), length=0)
    logits: list[Logits] = []
    for ids in (batch["input_ids"], *_chunks(batch["written"], STEPS)):
        new = batch["attention_mask"] if not logits else np.ones_like(ids)
        mask = np.concatenate([mask, new], axis=1)
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -ids.shape[1] :]
        found = graphs.run(WHOLE, {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **past})
        logits.append(found.pop("logits"))
        past = _as_past(found)
    real = mask > 0
    return {"logits": np.concatenate(logits, axis=1)[real], **{name: _at(one, real) for name, one in found.items()}}


def _encoder_decoder_steps(graphs: Graphs, batch: Batch) -> Outputs:
    mask, written = batch["attention_mask"], batch["written"]
    logits: list[Logits] = []
    read = graphs.run(ENCODER, {"input_ids": batch["input_ids"], "attention_mask": mask})["last_hidden_state"]
    past = graphs.past(rows=len(mask), length=DUMMY)
    source: Arrays = {"encoder_attention_mask": mask, "encoder_hidden_states": read}
    for ids in _chunks(written, STEPS):
        arrays = {"input_ids": ids, **source, **past, "use_cache_branch": np.array([bool(logits)])}
        found = graphs.run(DECODER, arrays)
        logits.append(found.pop("logits"))
        past = _as_past(found)
    real, all_written = mask > 0, np.ones_like(written) > 0
    cache = {name: _at(one, real if ".encoder." in name else all_written) for name, one in found.items()}
    return {"last_hidden_state": read[real], "logits": np.concatenate(logits, axis=1), **cache}


def _recurrent_steps(graphs: Graphs, batch: Batch) -> Outputs:
    mask, written = batch["attention_mask"], batch["written"]
    logits: list[Logits] = []
    found = graphs.run(ENCODER, {"input_ids": batch["input_ids"], "attention_mask": mask})
    read = found.pop("last_hidden_state")
    first = {f"first.{name}": found[present] for name, present in zip(STATE, PRESENT_STATE, strict=True)}
    source: Arrays = {"encoder_attention_mask": mask, "encoder_hidden_states": read}
    alone = graphs.shapes["input_ids"][1] == 1
    for ids in _chunks(written, [1] * written.shape[1] if alone else STEPS):
        found = graphs.run(DECODER, {"input_ids": ids, **source, **_as_past(found)})
        logits.append(found.pop("logits"))
    return {"last_hidden_state": read[mask > 0], "logits": np.concatenate(logits, axis=1), **first, **found}


def _chunks(ids: NDArray[np.int64], steps: Sequence[int]) -> list[NDArray[np.int64]]:
    return np.split(ids, np.cumsum(steps)[:-1], axis=1)


def _as_past(presents: Outputs) -> Arrays:
    return {_past_name(name): values for name, values in presents.items()}


def _past_name(name: str) -> str:
    when, _, what = name.partition(".")
    return f"{'past_state' if when == 'present_state' else 'past_key_values'}.{what}"


def _at(cache: NDArray[np.float32], real: NDArray[np.bool_]) -> NDArray[np.float32]:
    return cache.swapaxes(1, POSITIONS)[real]
