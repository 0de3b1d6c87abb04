"""Texts to arrays: what is cut, what is padded, and which rows run together."""

import random
from pathlib import Path

import numpy as np
import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.errors import BundleError
from kd_deploy.tasks.encoding import CHARACTERS_PER_TOKEN, Encoded, Encoder, TextInput, batches_by_length

PAD, CLS, SEP = 0, 2, 3
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def encoder(checkpoint: Path, *, max_length: int = 12, side: str = "right", pad_id: int = PAD) -> Encoder:
    return Encoder.from_file(checkpoint / "tokenizer.json", max_length=max_length, pad_id=pad_id, padding_side=side)


def test_a_cut_text_keeps_its_special_tokens(checkpoint: Path) -> None:
    long = encoder(checkpoint, max_length=6).encode("the film we saw was a long story")

    whole = encoder(checkpoint, max_length=100).encode("the film we saw was a long story")
    assert len(long) == 6
    assert (long.ids[0], long.ids[-1]) == (CLS, SEP)
    assert long.ids[1:-1] == whole.ids[1:5]


def test_a_pair_has_two_segments(checkpoint: Path) -> None:
    one = encoder(checkpoint).encode(("the film", "a story"))

    assert one.ids.count(SEP) == 2
    assert one.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert encoder(checkpoint).encode("the film").type_ids == [0, 0, 0, 0]


def test_the_longer_half_of_a_pair_is_cut_first(checkpoint: Path) -> None:
    one = encoder(checkpoint, max_length=8).encode(("the film", "a long story of people in town"))

    assert len(one) == 8
    assert one.ids.count(SEP) == 2
    assert one.ids[-1] == SEP
    assert one.type_ids.count(0) == 4


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_is_padded_on_its_side(checkpoint: Path, side: str) -> None:
    chosen = encoder(checkpoint, side=side, pad_id=9)
    encoded = chosen.encode_all(["the film", ("a story", "of the town people")])

    batch = chosen.collate(encoded, input_names=NAMES)

    longest = len(encoded[1])
    for row, one in enumerate(encoded):
        filled = longest - len(one)
        inside = slice(0, len(one)) if side == "right" else slice(filled, longest)
        assert batch["input_ids"][row, inside].tolist() == one.ids
        assert batch["token_type_ids"][row, inside].tolist() == one.type_ids
        assert batch["attention_mask"][row, inside].all()
        assert batch["attention_mask"][row].sum() == len(one)
        assert (batch["input_ids"][row] == 9).sum() == filled
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}


def test_only_the_arrays_that_a_model_takes_are_made(checkpoint: Path) -> None:
    chosen = encoder(checkpoint)

    assert set(chosen.collate([chosen.encode("a")], input_names=NAMES[:2])) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    "text", ["\ud800", "film \udfff story", "", " ", "\x00", "🙂 film", "é" * 500, ("\ud800", "film"), "a\u200bb"]
)
def test_odd_texts_are_encoded_all_the_same(checkpoint: Path, text: TextInput) -> None:
    chosen = encoder(checkpoint)

    one = chosen.encode(text)

    assert one.ids[0] == CLS
    assert one.ids[-1] == SEP
    assert chosen.encode_all([text, "the film"])[0] == one


def test_one_by_one_is_as_all_at_once(checkpoint: Path) -> None:
    texts: list[TextInput] = ["the film", ("a", "story"), "we saw", ("the town", "of people " * 9)]
    chosen = encoder(checkpoint)

    assert chosen.encode_all(texts) == [chosen.encode(text) for text in texts]
    assert chosen.encode_all([]) == []


def test_a_text_of_a_million_words_costs_no_more_than_its_start(checkpoint: Path) -> None:
    chosen = encoder(checkpoint, max_length=12)
    text = "film " * 1_000_000

    assert chosen.encode(text) == chosen.encode(text[: 12 * CHARACTERS_PER_TOKEN])


def test_a_files_own_padding_and_limit_do_not_count(checkpoint: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_padding(length=30)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert len(encoder(tmp_path, max_length=12).encode("the film we saw was long")) == 8


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "\x00"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)

    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer"):
        encoder(tmp_path)


def test_ids_are_those_of_transformers(bert_bundle: Bundle) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(bert_bundle.path)
    texts = ["The FILM, we saw!", "a story " * 20, "naïve café", "", "[CLS] [SEP] film", "日本 film"]
    ours = encoder(bert_bundle.path, max_length=12)

    for text in texts:
        assert ours.encode(text).ids == theirs(text, truncation=True, max_length=12)["input_ids"], text


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [1, 30, 100, 10_000])
def test_batches_hold_every_row_once_within_the_budget(seed: int, budget: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(1, 60) for _ in range(rng.randint(1, 200))]

    batches = list(batches_by_length(lengths, token_budget=budget))

    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget for batch in batches)
    starts = [lengths[batch[0]] for batch in batches]
    assert starts == sorted(starts, reverse=True)


def test_no_rows_make_no_batches() -> None:
    assert list(batches_by_length([], token_budget=10)) == []


def test_rows_that_fit_share_a_batch() -> None:
    assert list(batches_by_length([2, 5, 5, 2, 2], token_budget=10)) == [[1, 2], [0, 3, 4]]


def test_an_encoded_text_knows_its_length() -> None:
    assert len(Encoded([1, 2, 3], [0, 0, 0])) == 3


def test_the_copy_without_a_limit_is_made_once(checkpoint: Path) -> None:
    short, text = encoder(checkpoint, max_length=6), "the film we saw was a long story"

    assert short.uncut is short.uncut
    assert len(short.uncut.encode(text).ids) > len(short.encode(text)) == 6


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_without_tokens_is_one_padding_token(checkpoint: Path, side: str) -> None:
    one, none = Encoded([5, 6], [0, 0]), Encoded([], [])

    alone = encoder(checkpoint, side=side).collate([none], input_names=NAMES)
    among = encoder(checkpoint, side=side).collate([one, none], input_names=NAMES)

    assert [alone[name].tolist() for name in NAMES] == [[[PAD]], [[1]], [[0]]]
    seen = among["attention_mask"][1].astype(bool)
    assert among["input_ids"][1][seen].tolist() == [PAD]
    assert seen.tolist() == ([False, True] if side == "left" else [True, False])
