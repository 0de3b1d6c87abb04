"""A student with fewer inner units than its teacher starts from those that weigh most."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    T5Config,
)

from kd_deploy.distill.students.depth import Depths, copied_writer, takes_layers, writer_config
from kd_deploy.distill.students.transformer import copy_weights, student_config
from kd_deploy.distill.students.units import thinned
from kd_deploy.recipe import TransformerStudent
from tests.distill.students.models import fresh, logits, writer

MARKS: dict[str, Any] = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENCODER: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
DISTILBERT: dict[str, Any] = {"vocab_size": 40, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2}
MODERN: dict[str, Any] = {**MARKS, **ENCODER, "cls_token_id": 1, "sep_token_id": 2}
BART: dict[str, Any] = {
    **MARKS, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 32,
    "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
# By family: a config of 24 inner units, the weights that leave them, and the axis along which units lie there.
ENCODERS: dict[str, tuple[Any, str, int]] = {
    "bert": (BertConfig(**ENCODER, intermediate_size=24, num_labels=3), ".output.dense.weight", 1),
    "distilbert": (DistilBertConfig(**DISTILBERT, num_labels=3), "ffn.lin2.weight", 1),
    "modernbert": (ModernBertConfig(**MODERN, intermediate_size=24, num_labels=3), "mlp.Wo.weight", 1),
}
WRITERS: dict[str, tuple[Any, str, int]] = {
    "gpt2": (GPT2Config(**MARKS, n_layer=2, n_embd=16, n_head=2, n_positions=32, n_inner=24), "mlp.c_proj.weight", 0),
    "llama": (
        LlamaConfig(**{**MARKS, **ENCODER}, num_key_value_heads=2, intermediate_size=24), "mlp.down_proj.weight", 1
    ),
    "bart": (BartConfig(**BART), "fc2.weight", 1),
    "t5": (
        T5Config(
            vocab_size=40, d_model=16, num_layers=2, num_decoder_layers=2, num_heads=2, d_kv=6, d_ff=24, pad_token_id=0,
            decoder_start_token_id=0, feed_forward_proj="gated-gelu",
        ),
        "DenseReluDense.wo.weight", 1,
    ),
}  # fmt: skip
SPOKEN = 10  # inner units of each layer that say anything


def silence(model: nn.Module, leaving: str, axis: int) -> None:
    """Leave so many units of each layer, others in each, that change what it says."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(leaving) and "attention" not in name and "attn" not in name:
                weight.index_fill_(axis, torch.randperm(24)[SPOKEN:], 0.0)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_without_the_units_that_say_nothing_answers_as_before(family: str) -> None:
    config, leaving, axis = ENCODERS[family]
    teacher = fresh(config, auto=AutoModelForSequenceClassification, seed=0)
    silence(teacher, leaving, axis)
    narrower = student_config(config, TransformerStudent(layers=2, intermediate_size=SPOKEN))
    student = fresh(narrower, auto=AutoModelForSequenceClassification, seed=1)

    copy_weights(student, teacher, (0, 1))

    assert sum(one.numel() for one in student.parameters()) < sum(one.numel() for one in teacher.parameters())
    torch.testing.assert_close(logits(student), logits(teacher))


@pytest.mark.parametrize("family", WRITERS)
def test_a_writer_without_the_units_that_say_nothing_writes_as_before(family: str) -> None:
    config, leaving, axis = WRITERS[family]
    teacher = writer(config, seed=0)
    silence(teacher, leaving, axis)
    depth = {"encoder_layers": 2} if config.is_encoder_decoder else {}
    narrower = writer_config(config, Depths(**depth, decoder_layers=2, intermediate_size=SPOKEN))
    student = writer(narrower, seed=1)

    assert takes_layers(narrower, config)
    copied_writer(student, teacher)

    torch.testing.assert_close(logits(student), logits(teacher))


def test_a_unit_weighs_the_product_of_what_goes_in_and_what_goes_out() -> None:
    into = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [6.0, 8.0]])  # norms 5, 1, 2, 10
    out = torch.tensor([[0.1, 9.0, 3.0, 0.2]])  # products 0.5, 9, 6, 2
    bias, norm = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.ones(2)
    found = {"l.0.into": into, "l.0.bias": bias, "l.0.out": out, "l.0.norm": norm, "head": into}
    wanted = {"l.0.into": into[:2], "l.0.bias": bias[:2], "l.0.out": out[:, :2], "l.0.norm": norm, "head": into[:2]}

    kept = thinned(found, wanted, lists=["l."])

    assert torch.equal(kept["l.0.into"], into[[1, 2]])  # type: ignore[arg-type]
    assert torch.equal(kept["l.0.bias"], bias[[1, 2]])  # type: ignore[arg-type]
    assert torch.equal(kept["l.0.out"], out[:, [1, 2]])  # type: ignore[arg-type]
    assert kept["l.0.norm"] is norm
    assert kept["head"] is into  # not of a layer: as it is, to be refused


def test_more_units_than_the_teachers_are_no_copy() -> None:
    config = WRITERS["bart"][0]
    assert not takes_layers(writer_config(config, Depths(intermediate_size=32)), config)
