"""Models of transformers with weights that are alike in nothing, and what they say."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

IDS = torch.tensor([[7, 8, 9, 10, 11, 2], [5, 6, 7, 8, 2, 0]])
TARGETS = torch.tensor([[1, 8, 9], [1, 5, 4]])


def fresh(config: Any, *, auto: Any, seed: int) -> Any:
    """A model of an auto class; its norms, biases and tables are random too: two layers are alike in nothing."""
    torch.manual_seed(seed)
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def writer(config: Any, *, seed: int) -> Any:
    """Such a model that writes: an encoder-decoder, or a decoder alone."""
    return fresh(config, auto=AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM, seed=seed)


def logits(model: Any) -> Tensor:
    """What a model says of two texts, the second padded; of two targets where it is an encoder-decoder."""
    extra = {"decoder_input_ids": TARGETS} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS, attention_mask=(IDS > 0).long(), **extra).logits
    return found
