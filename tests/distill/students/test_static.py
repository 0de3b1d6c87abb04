"""The static student: its answer by hand, blind to padding, and to order where it has no bigrams."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.entries import with_entries
from kd_deploy.distill.students.static import BIGRAM_PRIME, Static, StaticConfig, bigram_buckets
from kd_deploy.recipe import StaticStudent
from kd_deploy.runtime import load
from tests import tiny

PAD = 0


def model(*, bigrams: int = 0) -> Static:
    torch.manual_seed(0)
    made = Static(
        StaticConfig(
            vocab_size=50,
            embedding_size=8,
            head_size=5,
            num_labels=3,
            pad_token_id=PAD,
            bigrams=bigrams,
            bigram_size=4,
        )
    )
    torch.nn.init.normal_(made.weight.weight)
    return made.eval()


def padded(ids: list[int], *, left: int = 0, right: int = 0) -> tuple[Tensor, Tensor]:
    row = torch.tensor([[PAD] * left + ids + [PAD] * right])
    mask = torch.tensor([[0] * left + [1] * len(ids) + [0] * right])
    return row, mask


@pytest.mark.parametrize("bigrams", [0, 64])
def test_logits_are_the_formula(bigrams: int) -> None:
    made, ids = model(bigrams=bigrams), [7, 8, 9, 7]
    weights = {name: value.numpy() for name, value in made.state_dict().items()}
    vectors, counts = weights["embedding.weight"][ids], np.exp(weights["weight.weight"][ids])
    shares = counts / counts.sum()
    pooled = [vectors.max(axis=0), (vectors * shares).sum(axis=0)]
    if bigrams:
        buckets = [(a * BIGRAM_PRIME + b) % bigrams for a, b in itertools.pairwise(ids)]
        pooled.append((weights["bigrams.weight"][buckets] * shares[1:]).sum(axis=0))
    hidden = np.maximum(weights["head.weight"] @ np.concatenate(pooled) + weights["head.bias"], 0)
    expected = weights["classifier.weight"] @ hidden + weights["classifier.bias"]

    logits = made(*padded(ids, right=2)).logits

    assert_close(logits[0].detach().numpy(), expected.astype(np.float32), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bigrams", [0, 64])
@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 9), (1, 0), (9, 0)])
@pytest.mark.parametrize("ids", [[7], [7, 8, 9], [5, 4, 3, 2, 1, 9, 9]])
def test_padding_on_either_side_changes_nothing(bigrams: int, ids: list[int], left: int, right: int) -> None:
    made = model(bigrams=bigrams)

    assert_close(made(*padded(ids, left=left, right=right)).logits, made(*padded(ids)).logits)


def test_the_order_counts_with_bigrams_alone() -> None:
    bare, paired = model(), model(bigrams=64)

    assert_close(bare(*padded([5, 4, 3])).logits, bare(*padded([3, 4, 5])).logits)
    assert not torch.allclose(paired(*padded([5, 4, 3])).logits, paired(*padded([3, 4, 5])).logits)


@pytest.mark.parametrize("bigrams", [0, 64])
def test_a_row_of_padding_alone_is_answered(bigrams: int) -> None:
    empty = torch.zeros(1, 4, dtype=torch.long)

    assert torch.isfinite(model(bigrams=bigrams)(empty, empty).logits).all()


def test_buckets_of_the_largest_ids_do_not_overflow() -> None:
    ids = torch.tensor([[2**31 - 1, 2**31 - 1]])

    assert bigram_buckets(ids, buckets=1000).item() == ((2**31 - 1) * BIGRAM_PRIME + 2**31 - 1) % 1000


def test_fewer_entries_keep_their_vectors_and_weights() -> None:
    whole, kept = model(bigrams=50), np.array([0, 3, 7, 9])
    whole.bigrams.weight.data.zero_()  # type: ignore[union-attr]  # ids change, and with them the buckets

    smaller = with_entries(whole, kept)

    assert_close(smaller(*padded([1, 2, 3])).logits, whole(*padded([3, 7, 9])).logits)


def test_word_vectors_start_from_the_teachers(checkpoint: Path) -> None:
    teacher: Any = load_model(checkpoint)
    settings = StaticStudent(architecture="static", bigrams=32)

    made = build_student(settings, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)

    assert isinstance(made, Static)
    assert torch.equal(made.embedding.weight, teacher.get_input_embeddings().weight)


@pytest.mark.parametrize("bigrams", [0, 128])
def test_from_training_to_the_same_answers_in_int8(checkpoint: Path, tmp_path: Path, bigrams: int) -> None:
    data = tiny.single_label(64, seed=1)
    settings = StaticStudent(architecture="static", head_size=16, bigrams=bigrams, dropout=0.0)
    made = build_student(
        settings, teacher=load_model(checkpoint), teacher_folder=checkpoint, labels=data.labels, seed=0
    )
    tiny.learn(made, checkpoint, data, work=tmp_path / "work", learning_rate=2e-2)

    bundle = tiny.export(tiny.bundle_of(made, tmp_path / "torch", checkpoint, data.labels), tmp_path / "made")

    texts = ["", "a great film", "awful " * 40, "we saw a dull story"]
    assert bundle.manifest.architecture == "static"
    assert bundle.manifest.graphs["int8"].quantized_operators["embedding tables"] >= 1
    with load(bundle.path, precision="fp32") as fp32, load(bundle.path, precision="int8") as int8:
        exact, rounded = fp32.predict(texts), int8.predict(texts)
    assert [one.label for one in exact] == [one.label for one in rounded]
    assert [one.label for one in exact][1:] == ["good", "bad", "bad"]
