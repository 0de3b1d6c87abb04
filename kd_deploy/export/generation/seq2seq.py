"""A transformer of encoder and decoder as two graphs; that of the decoder serves the first step and all others."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from kd_deploy.export.generation.tracing import (
    PAST,
    SAMPLE,
    SOURCE_LENGTH,
    Part,
    additive,
    cache_of,
    causal,
    each,
    in_pairs,
    pairs_of,
    source_mask,
)

SIDES = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
BATCH, SEQUENCE, SOURCE = "batch", "sequence", "encoder_sequence"


class _Encoder(nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = additive(attention_mask[:, None, None, :] > 0)
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return states


class _Decoder(nn.Module):
    """A decoder in one graph for every step, without a branch.

    The encoder's keys and values are taken from the past as far as it goes, and computed for what is left of the
    source: all of it in the first step, nothing later. Products of no rows cost nothing.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, encoder_attention_mask: Tensor, encoder_hidden_states: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        *past, use_cache_branch = rest
        use = use_cache_branch[0].to(torch.int64)
        written, read = past[0].shape[2] * use, past[2].shape[2] * use
        own = [one[:, :, :written] for place, one in enumerate(past) if place % len(SIDES) in (0, 1)]
        source = [one[:, :, :read] for place, one in enumerate(past) if place % len(SIDES) in (2, 3)]
        cache = EncoderDecoderCache(cache_of(in_pairs(own)), cache_of(in_pairs(source)))
        cache.is_updated = dict.fromkeys(cache.is_updated, False)  # so that what is left of the source is added
        there = torch.ones_like(torch.cat([own[0][:, 0, :, 0].to(torch.int64), input_ids], dim=1)) > 0
        logits: Tensor = self.model(
            attention_mask=additive(encoder_attention_mask[:, None, None, :] > 0),
            encoder_outputs=BaseModelOutput(last_hidden_state=encoder_hidden_states[:, read:]),
            decoder_input_ids=input_ids,
            decoder_attention_mask=additive(causal(there, input_ids.shape[1])),
            past_key_values=cache,
            use_cache=True,
        ).logits
        both = zip(pairs_of(cache.self_attention_cache), pairs_of(cache.cross_attention_cache), strict=True)
        return (logits, *(tensor for own_pair, source_pair in both for tensor in (*own_pair, *source_pair)))


def encoder_part(model: PreTrainedModel) -> Part:
    """The graph of the encoder: sources, padded on the right, to a state for each of their tokens."""
    mask = source_mask()
    free = {0: BATCH, 1: SOURCE}
    return Part(
        module=_Encoder(model),
        inputs={"input_ids": torch.ones_like(mask), "attention_mask": mask},
        outputs=("last_hidden_state",),
        axes=each(("input_ids", "attention_mask", "last_hidden_state"), free),
    )


def decoder_part(model: PreTrainedModel) -> Part:
    """The graph of the decoder with its own cache and that of the encoder's keys and values."""
    mask = source_mask()
    with torch.no_grad():
        states = model.get_encoder()(input_ids=torch.ones_like(mask)).last_hidden_state
        cache = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[:, : SOURCE_LENGTH - 1]),
            decoder_input_ids=torch.ones(SAMPLE, PAST, dtype=torch.int64),
            use_cache=True,
        ).past_key_values
    both = zip(pairs_of(cache.self_attention_cache), pairs_of(cache.cross_attention_cache), strict=True)
    pasts = {
        f"past_key_values.{layer}.{side}": tensor
        for layer, (own, source) in enumerate(both)
        for side, tensor in zip(SIDES, (*own, *source), strict=True)
    }
    presents = {name: name.replace("past_key_values", "present") for name in pasts}
    return Part(
        module=_Decoder(model),
        inputs={
            "input_ids": torch.ones(SAMPLE, SAMPLE, dtype=torch.int64),
            "encoder_attention_mask": mask,
            "encoder_hidden_states": states,
            **pasts,
            "use_cache_branch": torch.tensor([True]),
        },
        outputs=("logits", *presents.values()),
        axes={
            **each(("input_ids", "logits"), {0: BATCH, 1: SEQUENCE}),
            **each(("encoder_attention_mask", "encoder_hidden_states"), {0: BATCH, 1: SOURCE}),
            **{name: {0: BATCH, 2: "past_encoder" if ".encoder." in name else "past"} for name in pasts},
            **{name: {0: BATCH, 2: SOURCE if ".encoder." in name else "present"} for name in presents.values()},
        },
    )
