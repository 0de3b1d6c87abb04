"""A student over a part of its teacher's vocabulary: the same answers for texts within it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.narrowed import Tokenizing, tokenizing
from kd_deploy.distill.observe import word_vectors
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.entries import with_entries
from kd_deploy.distill.torch_runner import TorchRunner, input_names, open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import BilstmStudent, TransformerStudent
from kd_deploy.tasks.encoding import Encoder
from tests import tiny

TEXTS = tiny.single_label(40, seed=3).inputs
KINDS = {
    "transformer": TransformerStudent(layers=2),
    "bilstm": BilstmStudent(architecture="bilstm", hidden_size=8, head_size=8),
}


def narrowed(
    checkpoint: Path, work: Path, vocabulary: Any = "auto", validation: Sequence[str] = ("a text",)
) -> Tokenizing:
    return tokenizing(vocabulary, checkpoint=checkpoint, texts=TEXTS, validation=validation, work=work)


def logits(model: nn.Module, encoder: Encoder) -> np.ndarray[Any, Any]:
    batch = encoder.collate(encoder.encode_all(TEXTS), input_names=input_names(model))
    return TorchRunner(model).run(batch)["logits"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_texts_within_the_vocabulary_have_the_same_answers(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    teacher = load_model(checkpoint)
    model = build_student(KINDS[kind], teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)
    before = logits(model, open_encoder(checkpoint, max_length=tiny.MAX_LENGTH))

    tokens = narrowed(checkpoint, tmp_path / "tokenizer")
    assert tokens.kept is not None
    smaller = with_entries(model, tokens.kept)

    after = logits(smaller, open_encoder(tokens.folder, max_length=tiny.MAX_LENGTH))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert word_vectors(smaller).num_embeddings == len(tokens.kept) < tiny.SIZES.vocabulary
    assert tokens.same_tokens


def test_what_new_texts_lose_is_told_beside_what_chose_the_entries(checkpoint: Path, tmp_path: Path) -> None:
    used = {word for text in TEXTS for word in str(text).split()}
    words = open_encoder(checkpoint, max_length=512).tokenizer.get_vocab()
    (unused, *_) = sorted(word for word in words if word.isalpha() and len(word) > 2 and word not in used)
    validation = (str(TEXTS[0]), unused)

    tokens = narrowed(checkpoint, tmp_path / "tokenizer", validation=validation)

    assert tokens.coverage is not None
    assert tokens.new is not None
    before, after = (open_encoder(folder, max_length=512) for folder in (checkpoint, tokens.folder))
    counts = [sum(len(one) - 2 for one in encoder.encode_all(validation)) for encoder in (before, after)]
    assert tokens.coverage.unchanged_share == 1
    assert tokens.new.unchanged_share == 0.5
    assert (tokens.new.tokens_before, tokens.new.tokens_after) == tuple(counts)
    assert tokens.new.growth == counts[1] / counts[0] - 1 > 0


def test_full_is_the_teachers_own(checkpoint: Path, tmp_path: Path) -> None:
    tokens = narrowed(checkpoint, tmp_path / "tokenizer", "full")

    assert tokens == Tokenizing(folder=checkpoint)
    assert tokens.same_tokens
    assert not (tmp_path / "tokenizer").exists()


def test_a_smaller_vocabulary_cuts_some_texts_elsewhere(checkpoint: Path, tmp_path: Path) -> None:
    auto = narrowed(checkpoint, tmp_path / "auto")
    assert auto.kept is not None

    fewer = narrowed(checkpoint, tmp_path / "fewer", len(auto.kept) - 10)

    assert fewer.kept is not None
    assert len(fewer.kept) == len(auto.kept) - 10
    assert not fewer.same_tokens


def test_a_vocabulary_too_small_is_refused_with_the_smallest(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"student\.vocabulary"):
        narrowed(checkpoint, tmp_path / "tokenizer", 3)


def roberta() -> nn.Module:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 24}
    config = AutoConfig.for_model("roberta", vocab_size=30, pad_token_id=1, bos_token_id=0, eos_token_id=2, **sizes)
    torch.manual_seed(0)
    model: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model.eval()


def test_ids_in_the_config_follow() -> None:
    model = with_entries(roberta(), np.array([0, 1, 2, 7, 9]))

    assert model.config.vocab_size == 5  # type: ignore[union-attr]
    assert (model.config.bos_token_id, model.config.pad_token_id, model.config.eos_token_id) == (0, 1, 2)  # type: ignore[union-attr]
    ids = torch.tensor([[0, 3, 4, 2]])
    whole = roberta()(input_ids=torch.tensor([[0, 7, 9, 2]])).logits
    assert_close(model(input_ids=ids).logits, whole)


def test_positions_that_hang_on_the_pad_id_are_not_broken() -> None:
    with pytest.raises(RecipeError, match="counts positions from its pad id 1"):
        with_entries(roberta(), np.array([1, 2, 7]))
