"""Vocabulary pruning: small tokenizers of every kind, trained here, before and after."""

import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from kd_deploy.distill import vocabulary
from kd_deploy.distill.vocabulary import Coverage, choose_entries, count_entries, coverage, prune_vocabulary
from kd_deploy.distill.vocabulary_files import BYTES, prune
from kd_deploy.distill.vocabulary_merges import builder
from kd_deploy.errors import BundleError, DataError, RecipeError

Document = dict[str, Any]
Ids = Sequence[int] | NDArray[np.int64]

UNKNOWN = "<unk>"
SPECIAL = ["<pad>", UNKNOWN, "<s>", "</s>"]
PAD = "[PAD]"
LETTERS = "abcdefgh"


def texts(count: int, *, seed: int, letters: str = LETTERS) -> list[str]:
    """Words of few letters, the first ones the most frequent, so that pieces repeat."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(letters))]
    words = ["".join(rng.choices(letters, weights, k=rng.randint(1, 7))) for _ in range(4 * count)]
    return [" ".join(words[start : start + 4]) for start in range(0, 4 * count, 4)]


CORPUS, OTHERS = texts(60, seed=0, letters=LETTERS[:6]), texts(300, seed=1)


def trained(model: models.Model, trainer: trainers.Trainer, step: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = step
    tokenizer.train_from_iterator(texts(400, seed=2), trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def settings(size: int) -> dict[str, Any]:
    return {"vocab_size": size, "special_tokens": SPECIAL, "show_progress": False}


def wordpiece() -> Tokenizer:
    trainer = trainers.WordPieceTrainer(**settings(200))
    return trained(models.WordPiece(unk_token=UNKNOWN), trainer, pre_tokenizers.Whitespace())


def byte_level() -> Tokenizer:
    trainer = trainers.BpeTrainer(**settings(450), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=True))


def suffixed() -> Tokenizer:
    trainer = trainers.BpeTrainer(**settings(200), end_of_word_suffix="</w>")
    return trained(models.BPE(unk_token=UNKNOWN, end_of_word_suffix="</w>"), trainer, pre_tokenizers.Whitespace())


def prefixed() -> Tokenizer:
    trainer = trainers.BpeTrainer(**settings(200), continuing_subword_prefix="##")
    model = models.BPE(unk_token=UNKNOWN, continuing_subword_prefix="##")
    return trained(model, trainer, pre_tokenizers.Whitespace())


def with_bytes() -> Tokenizer:
    """As Llama's: no characters of its own for what is rare, and every way to split an entry is a merge."""
    tokenizer = trained(models.BPE(), trainers.BpeTrainer(**settings(200)), pre_tokenizers.Metaspace())
    document = document_of(tokenizer)
    found = [entry for entry in document["model"]["vocab"] if entry not in ("g", "h")]
    entries = [*SPECIAL, *BYTES, *(entry for entry in found if entry not in SPECIAL)]
    splits = [[entry[:at], entry[at:]] for entry in entries[260:] for at in range(1, len(entry))]
    document["model"] |= {
        "vocab": {entry: entry_id for entry_id, entry in enumerate(entries)},
        "merges": [split for split in splits if set(split) <= set(entries[260:])],
        "byte_fallback": True,
    }
    return Tokenizer.from_str(json.dumps(document))


def unigram() -> Tokenizer:
    trainer = trainers.UnigramTrainer(**settings(150), unk_token=UNKNOWN)
    return trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())


def word_level() -> Tokenizer:
    trainer = trainers.WordLevelTrainer(**settings(300))
    return trained(models.WordLevel(unk_token=UNKNOWN), trainer, pre_tokenizers.Whitespace())


KINDS: dict[str, Callable[[], Tokenizer]] = {
    make.__name__: make for make in (wordpiece, byte_level, suffixed, prefixed, with_bytes, unigram, word_level)
}


@cache
def file_of(kind: str) -> str:
    return str(KINDS[kind]().to_str())


@pytest.fixture(params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    # Through its file, as in use: the library reads some scores a last digit off.
    return Tokenizer.from_str(file_of(request.param))


def document_of(tokenizer: Tokenizer) -> Document:
    document: Document = json.loads(tokenizer.to_str())
    return document


def written(folder: Path, document: Document) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def after(tokenizer: Tokenizer, kept: Ids) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(prune(document_of(tokenizer), kept)))


def words(*entries: str) -> Tokenizer:
    listed = {entry: entry_id for entry_id, entry in enumerate([UNKNOWN, *entries])}
    tokenizer = Tokenizer(models.WordLevel(listed, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def merging(characters: str, *merges: tuple[str, str]) -> Tokenizer:
    listed = [UNKNOWN, *characters, *dict.fromkeys("".join(pair) for pair in merges)]
    model = models.BPE({entry: entry_id for entry_id, entry in enumerate(listed)}, list(merges), unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def names(tokenizer: Tokenizer, ids: Ids) -> list[str | None]:
    return [tokenizer.id_to_token(int(one)) for one in ids]


def counts_of(tokenizer: Tokenizer, **counts: int) -> NDArray[np.int64]:
    found = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for entry, count in counts.items():
        found[tokenizer.token_to_id(entry)] = count
    return found


def smallest(tokenizer: Tokenizer) -> int:
    with pytest.raises(RecipeError) as caught:
        choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=1)
    return int(caught.value.hint.split()[1])


def test_counts_are_of_whole_texts_without_special_tokens_and_leave_the_tokenizer() -> None:
    tokenizer = words("a", "b", "<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    before = tokenizer.to_str()

    found = count_entries(tokenizer, ["a b a x", "", ("b", "b a"), "a \ud800"])

    assert found.tolist() == [2, 4, 3, 0]
    assert found.dtype == np.int64
    assert tokenizer.to_str() == before


def test_counts_do_not_depend_on_how_many_texts_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = wordpiece()
    at_once = count_entries(tokenizer, CORPUS)

    monkeypatch.setattr(vocabulary, "TEXTS_AT_ONCE", 7)

    assert count_entries(tokenizer, iter(CORPUS)).tolist() == at_once.tolist()
    assert at_once.sum() == sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in CORPUS)


def test_the_most_used_are_kept_and_the_lower_id_among_equals() -> None:
    tokenizer = words("a", "b", "c", "d", "e")

    kept = choose_entries(tokenizer, counts_of(tokenizer, a=1, b=3, c=1, e=5), size=4)

    assert names(tokenizer, kept) == [UNKNOWN, "a", "b", "e"]


def test_a_size_above_what_is_used_is_filled_and_auto_is_not() -> None:
    tokenizer = words("a", "b", "c", "d", "e")
    counts = counts_of(tokenizer, e=5, c=1)

    assert names(tokenizer, choose_entries(tokenizer, counts, size=4)) == [UNKNOWN, "a", "c", "e"]
    assert names(tokenizer, choose_entries(tokenizer, counts, size=None)) == [UNKNOWN, "c", "e"]


def test_words_fill_a_vocabulary_before_single_characters_and_what_was_left_for_later() -> None:
    tokenizer = words("[unused0]", "z", "##z", "Ġz", "<unused1>", "▁z", "word", "##ing", "a")
    counts = counts_of(tokenizer, a=1)

    assert names(tokenizer, choose_entries(tokenizer, counts, size=4)) == [UNKNOWN, "word", "##ing", "a"]
    assert len(choose_entries(tokenizer, counts, size=9)) == 9


def test_special_and_added_tokens_are_kept(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens(["[EXTRA]", AddedToken("[LAST]", normalized=False)])

    kept = names(tokenizer, choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=None))

    assert {*SPECIAL, "[EXTRA]", "[LAST]"} <= set(kept)


def test_what_the_post_processor_and_the_padding_name_is_kept() -> None:
    tokenizer = words("a", "[CLS]", "[SEP]", "b", "[PAD]", "[END]")
    tokenizer.enable_padding(pad_id=5, pad_token=PAD)
    ends = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 6)])
    tokenizer.post_processor = processors.Sequence([processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)), ends])

    kept = choose_entries(tokenizer, counts_of(tokenizer), size=None)

    assert names(tokenizer, kept) == [UNKNOWN, "[CLS]", "[SEP]", "[PAD]", "[END]"]


def test_a_pad_that_the_file_does_not_name_is_kept_where_it_is_told() -> None:
    tokenizer = words("a", "b", "[PAD]")
    pad = tokenizer.token_to_id("[PAD]")

    assert names(tokenizer, choose_entries(tokenizer, counts_of(tokenizer, a=1), size=None)) == [UNKNOWN, "a"]
    kept = choose_entries(tokenizer, counts_of(tokenizer, a=1), size=None, pad=pad)
    assert names(tokenizer, kept) == [UNKNOWN, "a", "[PAD]"]
    with pytest.raises(RecipeError, match="the pad id 99 is no entry of the tokenizer"):
        choose_entries(tokenizer, counts_of(tokenizer), size=None, pad=99)


@pytest.mark.parametrize("make", [wordpiece, suffixed, prefixed, unigram])
def test_a_rare_word_falls_into_characters(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    pruned = after(tokenizer, choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=smallest(tokenizer)))

    assert all(tokenizer.token_to_id(UNKNOWN) not in tokenizer.encode(text).ids for text in CORPUS)
    assert all(pruned.token_to_id(UNKNOWN) not in pruned.encode(text).ids for text in CORPUS)
    assert pruned.token_to_id("h") is None  # The corpus has none.


def test_every_text_can_be_written_in_bytes() -> None:
    for tokenizer in (byte_level(), with_bytes()):
        kept = choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=None)

        assert len(after(tokenizer, kept).encode("h é 鱼", add_special_tokens=False)) >= 6
        assert smallest(tokenizer) == len(SPECIAL) + 256


def test_characters_are_all_kept_where_nothing_stands_for_an_unknown_one() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, "ab": 3}, [("a", "b")]))

    assert names(tokenizer, choose_entries(tokenizer, counts_of(tokenizer), size=None)) == ["a", "b", "c"]


def test_a_bpe_entry_brings_what_its_merges_pass_through() -> None:
    tokenizer = merging("abcd", ("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c"), ("abc", "d"))
    counts = counts_of(tokenizer, abcd=1)

    kept = choose_entries(tokenizer, counts, size=None)

    assert names(tokenizer, kept) == [UNKNOWN, *"abcd", "bc", "abc", "abcd"]  # Not ab: it is never made here.
    assert after(tokenizer, kept).encode("abcd").tokens == ["abcd"]


def test_a_bpe_entry_that_does_not_fit_with_its_parts_makes_room_for_the_next() -> None:
    tokenizer = merging("abcd", ("a", "b"), ("ab", "c"), ("c", "d"))
    counts = counts_of(tokenizer, abc=9, cd=1, a=1, b=1, c=1, d=1)

    assert names(tokenizer, choose_entries(tokenizer, counts, size=6)) == [UNKNOWN, *"abcd", "cd"]
    assert names(tokenizer, choose_entries(tokenizer, counts, size=7)) == [UNKNOWN, *"abcd", "ab", "abc"]


def test_an_entry_that_no_merge_reaches_stands_alone() -> None:
    document = document_of(merging("abc", ("a", "b")))
    document["model"]["vocab"]["abc"] = 5
    document["model"]["ignore_merges"] = True  # As in Llama 3: a word that is an entry is not built.
    tokenizer = Tokenizer.from_str(json.dumps(document))

    kept = choose_entries(tokenizer, counts_of(tokenizer, abc=3), size=None)

    assert after(tokenizer, kept).encode("abc ab").tokens == ["abc", "a", "b"]


@pytest.mark.parametrize(
    ("prefix", "suffix", "merges", "entry", "parts"),
    [
        ("", "", [("a", "b"), ("ab", "c")], "abc", {"a", "b", "c", "ab", "abc"}),
        ("", "", [("a", "b"), ("ab", "a"), ("b", "a"), ("a", "ba")], "aba", {"a", "b", "ab", "aba"}),
        ("", "", [("a", "a"), ("aa", "a")], "aaa", {"a", "aa", "aaa"}),
        ("", "</w>", [("b", "c</w>"), ("a", "bc</w>")], "abc</w>", {"a", "b", "c</w>", "bc</w>", "abc</w>"}),
        ("", "</w>", [("a", "b"), ("b", "c</w>")], "ab", {"a", "b", "ab"}),
        ("##", "", [("##b", "##c"), ("a", "##bc")], "abc", {"a", "##b", "##c", "##bc", "abc"}),
        ("##", "", [("##b", "##c"), ("a", "##bc")], "##bc", {"##b", "##c", "##bc"}),
        ("##", "</w>", [("##b", "##c</w>")], "##bc</w>", {"##b", "##c</w>", "##bc</w>"}),
        ("", "", [("a", "b")], "abc", {"abc"}),
        ("", "</w>", [], "</w>", {"</w>"}),
        ("", "", [], "a", {"a"}),
    ],
)
def test_what_an_entry_is_built_from(
    prefix: str, suffix: str, merges: list[tuple[str, str]], entry: str, parts: set[str]
) -> None:
    model = {"merges": merges, "continuing_subword_prefix": prefix, "end_of_word_suffix": suffix or None}

    assert builder(model)(entry) == parts


def test_an_unknown_character_stays_as_dear_as_it_was() -> None:
    scores = {UNKNOWN: 0.0, "c": -20.0, "ab": -20.0, "bc": -1.0, "b": -20.0, "z": -20.0, "a": -90.0}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))

    kept = choose_entries(tokenizer, counts_of(tokenizer, c=1, b=1, bc=1), size=6)

    assert names(tokenizer, kept) == [UNKNOWN, "c", "ab", "bc", "b", "a"]
    assert tokenizer.encode("abc").tokens == after(tokenizer, kept).encode("abc").tokens == ["ab", "c"]
    assert after(tokenizer, [0, 1, 2, 3, 4]).encode("abc").tokens == ["a", "bc"]  # Why a is kept: it scores lowest.


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_text_whose_pieces_are_kept_has_the_same_pieces(tokenizer: Tokenizer, share: float) -> None:
    least, most = smallest(tokenizer), tokenizer.get_vocab_size()
    kept = choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=round(least + share * (most - least)))
    pruned, unknown = after(tokenizer, kept), tokenizer.token_to_id(UNKNOWN)
    before = {text: tokenizer.encode(text).ids for line in CORPUS + OTHERS for text in (line, *line.split())}
    # WordPiece may spell a word that it could not spell before.
    within = {text: ids for text, ids in before.items() if set(ids) <= set(kept) - {unknown}}

    assert within
    assert len(within) < len(before)
    for text, ids in within.items():
        assert kept[pruned.encode(text).ids].tolist() == ids


def test_auto_changes_nothing_in_the_corpus(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = prune_vocabulary(written(tmp_path, document_of(tokenizer)), CORPUS, size=None)

    assert found.coverage.unchanged_share == 1.0
    assert found.coverage.tokens_before == found.coverage.tokens_after
    assert found.coverage.entries_after == len(found.kept) < found.coverage.entries_before


@pytest.mark.parametrize("more", [0, 1, 10, 30])
def test_the_size_is_met(tokenizer: Tokenizer, more: int) -> None:
    size = smallest(tokenizer) + more

    kept = choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=size)

    assert len(kept) == size  # Also for BPE: where an entry does not fit, its parts do.
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_a_size_above_the_vocabulary_keeps_everything(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = written(tmp_path, document_of(tokenizer))

    found = prune_vocabulary(path, CORPUS, size=10_000)

    assert found.document == json.loads(path.read_text(encoding="utf-8"))
    assert found.kept.tolist() == list(range(tokenizer.get_vocab_size()))
    assert found.used == len(found.kept)
    # Whatever a choice among its entries would be refused for: nothing is chosen.
    assert len(prune_vocabulary(path, CORPUS, size=10_000, pad=99_999).kept) == tokenizer.get_vocab_size()


def test_rows_of_an_embedding_follow(tokenizer: Tokenizer, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 3))

    found = prune_vocabulary(written(tmp_path, document_of(tokenizer)), CORPUS, size=None)

    pruned = Tokenizer.from_str(json.dumps(found.document))
    for text in CORPUS:
        old, new = tokenizer.encode(text).ids, pruned.encode(text).ids
        assert np.array_equal(weights[old], weights[found.kept][new])


def test_every_place_that_names_an_id_gets_the_new_one() -> None:
    tokenizer = words("a", "[CLS]", "b", "[SEP]", "[PAD]", "c", "[END]")
    tokenizer.add_special_tokens(["[PAD]", "[EXTRA]"])
    tokenizer.enable_padding(pad_id=5, pad_token=PAD)
    ends = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 7)])
    for pair in (processors.BertProcessing, processors.RobertaProcessing):
        tokenizer.post_processor = processors.Sequence([pair(("[SEP]", 4), ("[CLS]", 2)), ends])

        pruned = prune(document_of(tokenizer), [0, 2, 4, 5, 6, 7, 8])

        first, second = pruned["post_processor"]["processors"]
        assert [first["sep"], first["cls"]] == [["[SEP]", 2], ["[CLS]", 1]]
        assert second["special_tokens"]["[END]"]["ids"] == [5]
        assert pruned["padding"]["pad_id"] == 3
        assert [(token["content"], token["id"]) for token in pruned["added_tokens"]] == [("[PAD]", 3), ("[EXTRA]", 6)]
        loaded = Tokenizer.from_str(json.dumps(pruned))
        assert document_of(loaded) == pruned
        assert loaded.encode("c [EXTRA]").tokens == ["[CLS]", "c", "[EXTRA]", "[SEP]", "[END]"]


def test_unigram_keeps_its_scores_and_its_unknown_piece() -> None:
    document = document_of(Tokenizer(models.Unigram([("a", -0.1), ("b", -25.162300618508194), (UNKNOWN, 0.0)], 2)))

    model = prune(document, [1, 2])["model"]

    assert model["vocab"] == [["b", -25.162300618508194], [UNKNOWN, 0.0]]
    assert model["unk_id"] == 1


def test_the_document_given_is_left_alone(tokenizer: Tokenizer) -> None:
    document = document_of(tokenizer)
    before = json.dumps(document)

    prune(document, choose_entries(tokenizer, count_entries(tokenizer, CORPUS), size=None))

    assert json.dumps(document) == before


def test_the_older_form_of_the_file_is_read(tmp_path: Path) -> None:
    document = document_of(merging("abc", ("a", "b"), ("ab", "c")))
    del document["model"]["type"]
    document["model"]["merges"] = ["a b", "ab c"]

    found = prune_vocabulary(written(tmp_path, document), ["ab c"], size=None)

    assert found.document["model"]["merges"] == [["a", "b"]]
    assert found.document["model"]["type"] == "BPE"


def test_a_pad_id_beyond_the_vocabulary_stays() -> None:
    tokenizer = words("a", "b")
    tokenizer.enable_padding(pad_id=99)

    kept = choose_entries(tokenizer, counts_of(tokenizer, b=1), size=None)

    assert prune(document_of(tokenizer), kept)["padding"]["pad_id"] == 99


def test_coverage_by_hand() -> None:
    before = Tokenizer(models.WordPiece({UNKNOWN: 0, "a": 1, "##b": 2, "ab": 3, "c": 4}, unk_token=UNKNOWN))
    before.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    before.normalizer = normalizers.Lowercase()
    before.enable_truncation(1)
    kept = np.array([0, 1, 2])

    found = coverage(before, after(before, kept), texts=["a A", "ab", "c a", "x"], kept=kept)

    assert found == Coverage(
        texts=4,
        unchanged_texts=2,
        tokens_before=6,
        tokens_after=7,
        unknown_before=1,
        unknown_after=2,
        entries_before=5,
        entries_after=3,
    )
    assert found.unchanged_share == pytest.approx(2 / 4)
    assert found.unknown_share == pytest.approx(2 / 7)


def test_nothing_is_unknown_to_a_tokenizer_without_an_unknown_token() -> None:
    before = Tokenizer(models.BPE({"a": 0, "b": 1}, []))

    found = coverage(before, after(before, [0]), texts=["ab", "b"], kept=np.array([0]))

    assert (found.tokens_before, found.tokens_after, found.unknown_share) == (3, 1, 0.0)


def test_a_size_too_small_says_the_smallest_possible(tokenizer: Tokenizer) -> None:
    counts, least = count_entries(tokenizer, CORPUS), smallest(tokenizer)

    with pytest.raises(RecipeError, match=rf"student\.vocabulary: {least - 1} entries .* {least}") as caught:
        choose_entries(tokenizer, counts, size=least - 1)

    assert str(least) in caught.value.hint
    assert len(choose_entries(tokenizer, counts, size=least)) == least


def test_a_kind_without_single_entries_is_refused(tmp_path: Path) -> None:
    document = document_of(words("a"))
    document["model"]["type"] = "Characters"

    with pytest.raises(RecipeError, match=r"student\.vocabulary: .*'Characters'") as caught:
        prune_vocabulary(written(tmp_path, document), ["a"], size=None)

    assert "student.vocabulary: full" in caught.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', '{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(BundleError, match="is not a tokenizer"):
        prune_vocabulary(path, ["a"], size=None)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a tokenizer"):
        prune_vocabulary(tmp_path / "tokenizer.json", ["a"], size=None)


def test_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no texts"):
        prune_vocabulary(written(tmp_path, document_of(words("a"))), [], size=None)


@pytest.mark.parametrize("model", [models.WordLevel({"a": 0}, unk_token=UNKNOWN), models.WordPiece({"a": 0})])
def test_a_model_that_would_fail_at_unknown_words_is_refused(model: models.Model) -> None:
    with pytest.raises(RecipeError, match=r"no entry '.*' for words it does not know") as caught:
        choose_entries(Tokenizer(model), np.ones(1, dtype=np.int64), size=None)

    assert "full" in caught.value.hint


def test_ids_that_cannot_be_closed_up_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({UNKNOWN: 0, "a": 1, "b": 9}, unk_token=UNKNOWN))
    tokenizer.add_special_tokens(["<s>"])  # Gets 3, below b.

    with pytest.raises(RecipeError, match="cannot be closed up"):
        prune_vocabulary(written(tmp_path, document_of(tokenizer)), ["b"], size=None)


@pytest.mark.parametrize(
    ("kept", "message"),
    [([0, 2, 1], "ascending"), ([0, 1, 1], "ascending"), ([0, 9], "no entry 9"), ([1, 2], "names '<unk>'")],
)
def test_ids_that_do_not_fit_the_document_are_refused(kept: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune(document_of(words("a", "b")), kept)
