"""A language model as one graph, `model.onnx`: tokens and a cache in, logits and a longer cache out."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kd_deploy.export.generation.tracing import PAST, SAMPLE, Part, additive, cache_of, causal, each, in_pairs, pairs_of

KINDS = ("key", "value")
BATCH, SEQUENCE, PAST_AXIS = "batch", "sequence", "past"
WHOLE = f"{PAST_AXIS}+{SEQUENCE}"


class _Causal(nn.Module):
    """A language model that takes and gives its cache as tensors in a row."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        cache = cache_of(in_pairs(past))
        found = self.model(
            input_ids=input_ids,
            attention_mask=additive(causal(attention_mask > 0, input_ids.shape[1])),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return (found.logits, *(one for pair in pairs_of(cache) for one in pair))


def causal_part(model: PreTrainedModel) -> Part:
    """The graph of a language model with its cache; the sample has padding on the left, as prompts do."""
    mask = torch.ones(SAMPLE, PAST + SAMPLE, dtype=torch.int64)
    mask[0, 0] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        cache = model(input_ids=torch.ones(SAMPLE, PAST, dtype=torch.int64), use_cache=True).past_key_values
    pasts = {
        f"past_key_values.{layer}.{kind}": tensor
        for layer, pair in enumerate(pairs_of(cache))
        for kind, tensor in zip(KINDS, pair, strict=True)
    }
    presents = [name.replace("past_key_values", "present") for name in pasts]
    return Part(
        module=_Causal(model),
        inputs={
            "input_ids": torch.ones(SAMPLE, SAMPLE, dtype=torch.int64),
            "attention_mask": mask,
            "position_ids": positions[:, PAST:],
            **pasts,
        },
        outputs=("logits", *presents),
        axes={
            **each(("input_ids", "position_ids", "logits"), {0: BATCH, 1: SEQUENCE}),
            "attention_mask": {0: BATCH, 1: WHOLE},
            **each(pasts, {0: BATCH, 2: PAST_AXIS}),
            **each(presents, {0: BATCH, 2: WHOLE}),
        },
        last=True,
    )
