import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kd_deploy.data import demo
from kd_deploy.data.demo import INTENTS, DemoCorpus, generate, write
from kd_deploy.data.demo_parts import SLOTS, WISHES
from kd_deploy.data.demo_phrases import HELD_OUT, SEEN
from kd_deploy.data.reading import read_table
from kd_deploy.files import sha256_text

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def corpus() -> DemoCorpus:
    return generate()


def test_the_sizes_are_those_asked_for(corpus: DemoCorpus) -> None:
    assert [len(getattr(corpus, name)) for name in SPLITS] == [6000, 600, 1200]


def test_every_intent_has_phrases_of_every_kind() -> None:
    assert len(INTENTS) == 12
    assert tuple(HELD_OUT) == tuple(WISHES) == INTENTS


def test_no_phrase_is_both_seen_and_held_out() -> None:
    seen = {phrase for phrases in SEEN.values() for phrase in phrases}

    assert seen.isdisjoint(phrase for phrases in HELD_OUT.values() for phrase in phrases)


@pytest.mark.parametrize("name", SPLITS)
def test_every_intent_is_as_frequent_as_the_others(corpus: DemoCorpus, name: str) -> None:
    examples = getattr(corpus, name)
    counts = Counter(label for _, label in examples)

    assert set(counts) == set(INTENTS)
    assert min(counts.values()) >= 0.9 * len(examples) / len(INTENTS)


def test_no_text_stands_twice_in_any_splits(corpus: DemoCorpus) -> None:
    texts = [text.casefold() for name in SPLITS for text, _ in getattr(corpus, name)]

    assert len(texts) == len(set(texts))


def test_the_same_seed_gives_the_same_corpus_in_another_process(corpus: DemoCorpus) -> None:
    code = (
        "from kd_deploy.data.demo import generate; from kd_deploy.files import sha256_text;"
        "print(sha256_text(repr(generate())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )

    assert done.stdout.strip() == sha256_text(repr(corpus))


def test_another_seed_gives_another_corpus(corpus: DemoCorpus) -> None:
    assert generate(seed=1).test != corpus.test


def test_held_out_phrasings_never_occur_in_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NOISE", ())
    marks = {intent: (f"held out {intent} {{order}}",) for intent in INTENTS}
    monkeypatch.setattr(demo, "HELD_OUT", marks)

    corpus = generate(train=600, validation=60, test=120)

    held_out = [sum("held out" in text for text, _ in getattr(corpus, name)) for name in SPLITS]
    assert held_out[0] == 0
    assert held_out[1] > 0
    assert held_out[2] > 0


def test_labels_are_wrong_in_train_alone_and_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NOISE", ())
    monkeypatch.setattr(demo, "CONTRAST_SHARE", 0)
    marks = {intent: (f"{intent} {{order}}",) for intent in INTENTS}
    monkeypatch.setattr(demo, "SEEN", marks)
    monkeypatch.setattr(demo, "HELD_OUT", marks)

    corpus = generate()

    wrong = [sum(label not in text for text, label in getattr(corpus, name)) for name in SPLITS]
    assert 0.01 < wrong[0] / 6000 < 0.03
    assert wrong[1:] == [0, 0]


def test_every_slot_is_filled(corpus: DemoCorpus) -> None:
    assert not [text for name in SPLITS for text, _ in getattr(corpus, name) if "{" in text or "}" in text]
    assert all(SLOTS.values())


def test_it_is_neither_trivial_nor_hopeless(corpus: DemoCorpus) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2))
    texts, labels = zip(*corpus.train, strict=True)
    model = LinearSVC().fit(words.fit_transform(texts), labels)
    texts, labels = zip(*corpus.test, strict=True)

    assert 0.8 < model.score(words.transform(texts), labels) < 0.95


def test_written_files_are_read_back_alike(tmp_path: Path) -> None:
    corpus = generate(train=60, validation=24, test=36)

    write(tmp_path / "demo", corpus)

    for name in SPLITS:
        table = read_table(str(tmp_path / "demo" / f"{name}.jsonl"), columns={}, required=("text", "label"))
        assert tuple(zip(table.columns["text"], table.columns["label"], strict=True)) == getattr(corpus, name)


def test_written_rows_are_plain_json(tmp_path: Path) -> None:
    write(tmp_path, generate(train=12, validation=12, test=12))

    first = (tmp_path / "train.jsonl").read_text().splitlines()[0]

    assert list(json.loads(first)) == ["text", "label"]
