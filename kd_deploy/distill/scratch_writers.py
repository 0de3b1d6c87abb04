"""A teacher that writes, with random weights and a vocabulary of its own, for those who have no pretrained one."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from kd_deploy.distill.checkpoints import hush_transformers
from kd_deploy.distill.scratch import INNER_TO_WIDTH
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import ScratchModel
from kd_deploy.tasks.encoding import utf8

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)  # with the ids 0 to 3
PAD_ID, START_ID, END_ID = 0, 1, 2
DROPOUT = 0.1
# Weights of this size at this width are the ones that both families were found to learn well with.
KNOWN_STD, KNOWN_WIDTH = 0.02, 768


def write_scratch_writer(
    folder: Path, settings: ScratchModel, *, task: str, texts: Iterable[str], max_length: int, seed: int
) -> None:
    """Write a checkpoint with random weights that writes, and a byte-level BPE tokenizer.

    A GPT-2 for text-generation: with its norms before the layers it learns at any depth. A BART for text2text: its
    norms stand behind the layers, which a few layers and a warm-up of the learning rate put up with.

    Args:
        folder: An empty folder.
        settings: Sizes; text2text has as many layers in the encoder as in the decoder.
        task: text-generation or text2text.
        texts: From which the vocabulary is learned; of text2text, sources and targets.
        max_length: Tokens that it has positions for, in the source and in the target each.
        seed: Of the weights.

    Raises:
        RecipeError: The vocabulary has no room for every byte.
    """
    with_source = task == "text2text"
    tokenizer = train_bytes(texts, vocabulary=settings.vocabulary, ended=with_source)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = tokenizer_config(max_length, padding_side="right" if with_source else "left")
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(seed)
    hush_transformers()
    config = writer_sizes(settings, task=task, vocabulary=tokenizer.get_vocab_size(), max_length=max_length)
    model = BartForConditionalGeneration(config) if with_source else GPT2LMHeadModel(config)
    model.generation_config = GenerationConfig(
        pad_token_id=PAD_ID,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
        decoder_start_token_id=START_ID if with_source else None,
    )
    model.save_pretrained(folder)


def writer_sizes(settings: ScratchModel, *, task: str, vocabulary: int, max_length: int) -> "PreTrainedConfig":
    """The sizes of a model from scratch that writes, as transformers holds them.

    What a layer gives depends on the width times the square of its weights' size: narrower layers begin with larger
    weights, or attention stays near to uniform for long.
    """
    std = KNOWN_STD * math.sqrt(KNOWN_WIDTH / settings.hidden_size)
    ids = {"pad_token_id": PAD_ID, "bos_token_id": START_ID, "eos_token_id": END_ID}
    if task == "text2text":
        return BartConfig(
            vocab_size=vocabulary,
            d_model=settings.hidden_size,
            encoder_layers=settings.layers,
            decoder_layers=settings.layers,
            encoder_attention_heads=settings.attention_heads,
            decoder_attention_heads=settings.attention_heads,
            encoder_ffn_dim=INNER_TO_WIDTH * settings.hidden_size,
            decoder_ffn_dim=INNER_TO_WIDTH * settings.hidden_size,
            max_position_embeddings=max_length,
            dropout=DROPOUT,
            attention_dropout=DROPOUT,
            init_std=std,
            decoder_start_token_id=START_ID,
            forced_bos_token_id=None,
            forced_eos_token_id=None,
            **ids,
        )
    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=settings.hidden_size,
        n_layer=settings.layers,
        n_head=settings.attention_heads,
        n_positions=max_length,
        resid_pdrop=DROPOUT,
        embd_pdrop=DROPOUT,
        attn_pdrop=DROPOUT,
        initializer_range=std,
        **ids,
    )


def tokenizer_config(max_length: int, *, padding_side: str) -> dict[str, str | int | bool | list[str]]:
    """What tokenizer_config.json says, in a form that transformers 4 and 5 read alike."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "padding_side": padding_side,
        "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 would add token_type_ids
        "clean_up_tokenization_spaces": False,  # what is decoded is what was written
        "pad_token": PAD,
        "bos_token": START,
        "eos_token": END,
        "unk_token": UNKNOWN,
    }


def train_bytes(texts: Iterable[str], *, vocabulary: int, ended: bool) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocabulary` entries, as GPT-2's own is built: no text is unknown to it.

    The same texts give the same entries: special tokens and bytes are listed beforehand, and the trainer breaks ties
    by entry number.

    Args:
        texts: To learn from.
        vocabulary: Special tokens and the 256 bytes among them.
        ended: Whether every text gets the end token; a prompt must stay open.

    Raises:
        RecipeError: The vocabulary has no room for every byte.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(SPECIAL) + len(alphabet)
    if vocabulary < least:
        raise RecipeError(
            f"teacher.scratch.vocabulary {vocabulary} has no room for {len(SPECIAL)} special tokens and every byte",
            hint=f"choose at least {least}",
        )
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(map(utf8, texts), trainer)
    if ended:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {END}", pair=f"$A {END} $B:1 {END}:1", special_tokens=[(END, END_ID)]
        )
    return tokenizer
