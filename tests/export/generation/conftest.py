"""A tiny random model of every family that writes, and its graphs, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
)

from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq, LstmSeq2SeqConfig
from kd_deploy.export.generation.write import export_written
from kd_deploy.export.parity import Shapes

WORDS, WIDTH, POSITIONS = 300, 64, 48
SHAPES = Shapes(vocabulary_size=WORDS, max_length=POSITIONS, pad_id=0)
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
PAIR = {
    "vocab_size": WORDS, "d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "max_position_embeddings": POSITIONS,
    "init_std": 0.15,
}  # fmt: skip
LSTM = {"vocab_size": WORDS, "embedding_size": 40, "hidden_size": WIDTH, **SPECIAL}


def gpt2() -> nn.Module:
    sizes = {"vocab_size": WORDS, "n_positions": POSITIONS, "n_embd": WIDTH, "n_layer": 2, "n_head": 4}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1, initializer_range=0.15))


def llama() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    positions = {"num_key_value_heads": 2, "max_position_embeddings": POSITIONS}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **sizes, **positions, initializer_range=0.15))


def t5() -> nn.Module:
    sizes = {"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 16, "d_ff": 96, "num_layers": 1, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**sizes, num_decoder_layers=2, **SPECIAL))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "gpt2": gpt2,
    "llama": llama,
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(**PAIR, bos_token_id=1, forced_eos_token_id=None, **SPECIAL)
    ),
    "marian": lambda: MarianMTModel(MarianConfig(**PAIR, forced_eos_token_id=None, **SPECIAL)),
    "t5": t5,
    "lstm": lambda: LstmSeq2Seq(LstmSeq2SeqConfig(**LSTM, decoder_layers=2)),
    "lstm told": lambda: LstmSeq2Seq(LstmSeq2SeqConfig(**LSTM, input_feeding=True, tie=False)),
}
TRANSFORMERS = ("gpt2", "llama", "bart", "marian", "t5")
PAIRS = ("bart", "marian", "t5")
SHARED = ("gpt2", "bart", "marian", "t5", "lstm")


def built(family: str) -> nn.Module:
    """The model, with numbers in its biases too: nothing is equal by chance."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.02 * torch.randn_like(one))
    return model.eval()


@pytest.fixture(scope="session")
def models() -> dict[str, nn.Module]:
    return {family: built(family) for family in FAMILIES}


@pytest.fixture(scope="session")
def exported(models: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """The files of every family."""
    return {
        family: export_written(model, tmp_path_factory.mktemp(family.replace(" ", "_")), opset=17)
        for family, model in models.items()
    }
