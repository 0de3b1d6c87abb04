"""Random models that write, small ones, and what transformers' own generate says of them."""

from collections.abc import Sequence
from typing import Any

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
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.beams import search_beams
from kd_deploy.runtime.generation.choosing import chance_of
from kd_deploy.runtime.generation.search import Draft, advance
from kd_deploy.runtime.generation.transcript import Reader, Transcript
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.writing import Decoder
from tests.runtime.generation.fakes import END, PAD, START, encoded_of, encoder_of, words

VOCABULARY, WIDTH, POSITIONS = 24, 16, 48
MARKS: dict[str, Any] = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "vocab_size": VOCABULARY}
BART: dict[str, Any] = {
    **MARKS,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": POSITIONS,
    "decoder_start_token_id": START,
    "forced_eos_token_id": None,
    "dropout": 0.0,
}
CAUSAL, PAIRS = ("gpt2", "llama"), ("bart", "marian", "t5")
# Seeds and spreads with which every prompt has its own answer, and some end by themselves.
EXAMPLES = {"gpt2": (2, 0.35), "llama": (3, 0.35), "bart": (5, 0.6), "marian": (3, 0.35), "t5": (1, 0.6)}
PROMPTS = ([5, 6, 7, 8, 9, 10, 11], [12, 4], [7], [9, 9, 3, 14, 15])
SETTINGS = Generation(max_new_tokens=12)


def random_model(kind: str, *, seed: int | None = None) -> nn.Module:
    """A model whose next token is not always the same: its weights are larger than those training begins with."""
    example, spread = EXAMPLES[kind]
    torch.manual_seed(example if seed is None else seed)
    model = _untrained(kind).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=spread)
    return model


def random_lstm(*, seed: int = 4, input_feeding: bool = False) -> LstmSeq2Seq:
    torch.manual_seed(seed)
    model = LstmSeq2Seq(
        LstmSeq2SeqConfig(
            vocab_size=VOCABULARY,
            embedding_size=12,
            hidden_size=WIDTH,
            pad_token_id=PAD,
            decoder_start_token_id=START,
            eos_token_id=END,
            input_feeding=input_feeding,
        )
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.6)
    return model


def encoder_for(kind: str, **marks: Any) -> Encoder:
    return encoder_of(words(VOCABULARY), starts=() if kind in CAUSAL else (START,), max_length=POSITIONS, **marks)


def ours(
    decoder: Decoder, encoder: Encoder, *, settings: Generation = SETTINGS, prompts: Sequence[list[int]] = PROMPTS
) -> list[Draft]:
    """What our search writes, in one batch."""
    drafts = [
        Draft(
            given=encoder.marks.starts or prompt,
            limit=settings.max_new_tokens,
            transcript=Transcript.after((), Reader.of(encoder.tokenizer)),
            chance=chance_of(settings, number),
        )
        for number, prompt in enumerate(prompts)
    ]
    batch = encoded_of(*prompts)
    if settings.beams > 1:
        search_beams(decoder, batch, drafts, settings=settings, marks=encoder.marks)
    else:
        for _ in advance(decoder, batch, drafts, settings=settings, marks=encoder.marks):
            pass
    return drafts


def theirs(
    model: Any, kind: str, *, settings: Generation = SETTINGS, prompts: Sequence[list[int]] = PROMPTS, **more: Any
) -> list[list[int]]:
    """What transformers writes, in one padded batch, up to the end token."""
    longest = max(map(len, prompts))
    left = kind in CAUSAL
    ids = [[PAD] * (longest - len(one)) + one if left else one + [PAD] * (longest - len(one)) for one in prompts]
    ones = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
    mask = ones if left else [one[::-1] for one in ones]
    found = model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.beams,
        length_penalty=settings.length_penalty,
        repetition_penalty=settings.repetition_penalty,
        no_repeat_ngram_size=settings.no_repeat_ngram,
        early_stopping=False,
        do_sample=False,
        **more,
    )
    rows = found[:, longest if left else 1 :].tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]


def _untrained(kind: str) -> Any:
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**MARKS, n_positions=POSITIONS, n_embd=WIDTH, n_layer=2, n_head=2))
    if kind == "llama":
        sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        positions = {"num_key_value_heads": 2, "max_position_embeddings": POSITIONS}
        return LlamaForCausalLM(LlamaConfig(**MARKS, **sizes, **positions))
    if kind == "t5":
        sizes = {"d_model": WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
        return T5ForConditionalGeneration(T5Config(**MARKS, **sizes, decoder_start_token_id=START))
    if kind == "marian":
        return MarianMTModel(MarianConfig(**BART))
    return BartForConditionalGeneration(BartConfig(**BART))
