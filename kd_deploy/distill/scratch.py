"""A teacher with random weights and a vocabulary of its own, for those who have no pretrained one."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig

from kd_deploy.distill.checkpoints import hush_transformers
from kd_deploy.distill.heads import auto_class, label_fields
from kd_deploy.recipe import ScratchModel
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.task import LabelSpace

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INNER_TO_WIDTH = 4


def write_scratch_model(
    folder: Path,
    settings: ScratchModel,
    *,
    inputs: Iterable[TextInput],
    labels: LabelSpace,
    max_length: int,
    seed: int,
) -> None:
    """Write a BERT-like checkpoint with random weights and a lower-casing WordPiece tokenizer.

    Args:
        folder: An empty folder.
        settings: Sizes.
        inputs: Texts from which the vocabulary is learned.
        labels: The classes of its logits.
        max_length: Tokens it has positions for.
        seed: Of the weights.
    """
    tokenizer = train_wordpiece(inputs, vocabulary=settings.vocabulary)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": max_length}
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config | names), encoding="utf-8")
    torch.manual_seed(seed)
    hush_transformers()
    config = scratch_config(settings, vocabulary=tokenizer.get_vocab_size(), max_length=max_length)
    for key, value in label_fields(labels).items():
        setattr(config, key, value)
    auto_class(labels.task).from_config(config).save_pretrained(folder)


def scratch_config(settings: ScratchModel, *, vocabulary: int, max_length: int) -> BertConfig:
    """The sizes of a model from scratch, as transformers holds them."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.attention_heads,
        intermediate_size=INNER_TO_WIDTH * settings.hidden_size,
        max_position_embeddings=max_length,
        pad_token_id=0,
    )


def train_wordpiece(inputs: Iterable[TextInput], *, vocabulary: int) -> Tokenizer:
    """A lower-casing WordPiece tokenizer of at most `vocabulary` entries, as BERT's own is built.

    The same texts give the same entries: the trainer breaks ties by entry number, and numbers single
    characters in an order that changes from process to process, unless they are listed beforehand.
    """
    texts = list(_texts(inputs))
    learning = _untrained({})
    listed = [*SPECIAL, *_characters(learning, texts)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=listed, show_progress=False)
    learning.train_from_iterator(texts, trainer)
    tokenizer = _untrained(learning.get_vocab(with_added_tokens=True))
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def _untrained(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of the vocabulary
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _characters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    first, following = set[str](), set[str]()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            first.add(word[0])
            following.update(f"##{character}" for character in word[1:])
    return sorted(first) + sorted(following)


def _texts(inputs: Iterable[TextInput]) -> Iterable[str]:
    for one in inputs:
        yield from (one,) if isinstance(one, str) else one
