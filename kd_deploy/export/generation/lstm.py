"""An LSTM of encoder and decoder as two graphs: a state goes in and comes out, of the same size at every step."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from kd_deploy.export.generation.tracing import SAMPLE, Part, each, source_mask

STATE = ("hidden", "cell", "attended")
PAST_STATE, PRESENT_STATE = (tuple(f"{when}_state.{name}" for name in STATE) for when in ("past", "present"))
BATCH, SEQUENCE, SOURCE = "batch", "sequence", "encoder_sequence"


class Recurrent(Protocol):
    """An encoder-decoder that goes on from a state.

    `sizes.input_feeding` says that each token is read with what was made of the one before: such a model is traced
    for a single token, as a loop over more would be traced for just so many.
    """

    @property
    def sizes(self) -> Any:
        """Its configuration."""

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """States of the source [B, S, W], and the decoder's first state."""

    def decode(
        self, ids: Tensor, states: Tensor, attention_mask: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, T, V], and the state after the last token."""


def is_recurrent(model: nn.Module) -> bool:
    """Whether a model goes on from a state, and has no cache."""
    return callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None))


class _Encoder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        states, state = cast("Recurrent", self.model).encode(input_ids, attention_mask)
        return (states, *(state[name] for name in STATE))


class _Decoder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, encoder_attention_mask: Tensor, encoder_hidden_states: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        state = dict(zip(STATE, past, strict=True))
        model = cast("Recurrent", self.model)
        logits, state = model.decode(input_ids, encoder_hidden_states, encoder_attention_mask, state)
        return (logits, *(state[name] for name in STATE))


def lstm_encoder_part(model: nn.Module) -> Part:
    """The graph of the encoder: sources to a state for each of their tokens, and the decoder's first state."""
    mask = source_mask()
    return Part(
        module=_Encoder(model),
        inputs={"input_ids": torch.ones_like(mask), "attention_mask": mask},
        outputs=("last_hidden_state", *PRESENT_STATE),
        axes={
            **each(("input_ids", "attention_mask", "last_hidden_state"), {0: BATCH, 1: SOURCE}),
            **each(PRESENT_STATE, {0: BATCH}),
        },
    )


def lstm_decoder_part(model: nn.Module) -> Part:
    """The graph of the decoder: tokens and a state to logits and the next state."""
    mask = source_mask()
    recurrent = cast("Recurrent", model)
    with torch.no_grad():
        states, state = recurrent.encode(torch.ones_like(mask), mask)
    one_token = recurrent.sizes.input_feeding
    tokens = {0: BATCH} if one_token else {0: BATCH, 1: SEQUENCE}
    return Part(
        module=_Decoder(model),
        inputs={
            "input_ids": torch.ones(SAMPLE, 1 if one_token else SAMPLE, dtype=torch.int64),
            "encoder_attention_mask": mask,
            "encoder_hidden_states": states,
            **{past: state[name] for past, name in zip(PAST_STATE, STATE, strict=True)},
        },
        outputs=("logits", *PRESENT_STATE),
        axes={
            **each(("input_ids", "logits"), tokens),
            **each(("encoder_attention_mask", "encoder_hidden_states"), {0: BATCH, 1: SOURCE}),
            **each((*PAST_STATE, *PRESENT_STATE), {0: BATCH}),
        },
    )
