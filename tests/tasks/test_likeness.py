"""BLEU and chrF against sacrebleu, ROUGE-L by hand, and what rows that are drawn make of them."""

import random
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu

from kd_deploy.errors import MissingExtraError
from kd_deploy.tasks.likeness import likeness, metrics, rouge_l, statistics

WORDS = (
    "a",
    "man",
    "walks",
    "the",
    "dog,",
    "über",
    "naïve",
    "東京都に",
    "🙂",
    "U.S.",
    "3.5",
    "don't",
    "«oui»",
    "—",
    "Ende!",
)
PAIRS = {
    "alike": (["The cat sat on the mat."], ["The cat sat on the mat."]),
    "one word in four": (["the the the cat"], ["a cat sleeps here"]),
    "short": (["Yes", "No."], ["Yes.", "No."]),
    "nothing written": (["", ""], ["A dog.", "Two dogs run."]),
    "nothing written once": (["", "Two dogs run far away"], ["A dog.", "Two dogs run far."]),
    "only spaces": (["  \t", "a"], ["b", "a"]),
    "no character shared": (["xyz"], ["abc"]),
    "scripts": (["東京都に住んでいます", "ёлка и ель"], ["東京都で暮らしています", "ёлки и ель"]),
    "combining": (["cafe\u0301 ﬁn"], ["café fin"]),
    "one character": (["a"], ["a"]),
    "long": (["one two three four five " * 30], ["one two four five six " * 25]),
}


def made_up(count: int, *, seed: int, words: int = 15) -> tuple[list[str], list[str]]:
    """References, and the same with some words left out, exchanged or added."""
    rng = random.Random(seed)
    references = [" ".join(rng.choices(WORDS, k=rng.randint(1, words))) for _ in range(count)]
    return [_changed(one, rng) for one in references], references


def _changed(text: str, rng: random.Random) -> str:
    if rng.random() < 0.05:
        return ""
    words = [rng.choice(WORDS) if rng.random() < 0.2 else word for word in text.split() if rng.random() < 0.9]
    return " ".join([*words, *rng.choices(WORDS, k=rng.randint(0, 2))])


def check_against_sacrebleu(written: Sequence[str], references: Sequence[str]) -> None:
    found = metrics(statistics(written, references))

    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [references]).score / 100, abs=1e-12)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [references]).score / 100, abs=1e-12)


@pytest.mark.parametrize("case", list(PAIRS))
def test_bleu_and_chrf_are_those_of_sacrebleu(case: str) -> None:
    check_against_sacrebleu(*PAIRS[case])


@pytest.mark.parametrize("seed", range(20))
def test_bleu_and_chrf_of_any_rows_are_those_of_sacrebleu(seed: int) -> None:
    check_against_sacrebleu(*made_up(1 + seed * 5, seed=seed))


def test_equal_texts_score_one() -> None:
    _, references = made_up(50, seed=1)

    assert metrics(statistics(references, references)) == {
        "bleu": 1.0,
        "chrf": pytest.approx(1.0),
        "rouge_l": pytest.approx(1.0, abs=0.1),  # a row of signs alone has no words
    }


def test_nothing_written_scores_nothing() -> None:
    assert metrics(statistics(["", " "], ["A dog.", "b"])) == {"bleu": 0, "chrf": 0, "rouge_l": 0}


def test_no_rows_are_no_statistics() -> None:
    found = statistics([], [])

    assert found.shape == (0, 29)
    assert metrics(found) == {"bleu": 0, "chrf": 0, "rouge_l": 0}


def test_rows_count_as_often_as_they_are_drawn() -> None:
    written, references = made_up(30, seed=3)
    rows = np.random.default_rng(0).integers(0, 30, size=30)

    drawn = metrics(statistics(written, references), np.bincount(rows, minlength=30))

    again = statistics([written[row] for row in rows], [references[row] for row in rows])
    assert drawn == pytest.approx(metrics(again))


@pytest.mark.parametrize(
    ("written", "reference", "expected"),
    [
        ("two cooks boil the rice", "two cooks boiled the rice", 4 / 5),
        ("the rice boils two cooks", "two cooks boiled the rice", 2 / 5),
        ("The Rice, two COOKS boiled!", "two cooks boiled the rice", 3 / 5),
        ("a b c d e", "a c e", 2 * 3 / 8),
        ("a a a", "a", 2 * 1 / 4),
        ("Ärger über Öl", "ärger ÜBER öl", 1),
        ("x", "y", 0),
        ("", "y", 0),
        ("y", "...", 0),
        ("", "", 0),
    ],
)
def test_rouge_l_by_hand(written: str, reference: str, expected: float) -> None:
    assert rouge_l(written, reference) == pytest.approx(expected)
    assert rouge_l(reference, written) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(30))
def test_the_longest_common_subsequence_is_that_of_the_table(seed: int) -> None:
    rng = random.Random(seed)
    left, right = (rng.choices("abcde", k=rng.randint(1, 90)) for _ in range(2))

    table = np.zeros((len(left) + 1, len(right) + 1), dtype=int)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])

    assert rouge_l(" ".join(left), " ".join(right)) == pytest.approx(2 * table[-1, -1] / (len(left) + len(right)))


def test_likeness_is_one_for_equal_texts_and_the_same_both_ways() -> None:
    left, right = "a man walks his dog", "the man walks a big dog"
    there, back = (sacrebleu.sentence_chrf(a, [b]).score / 100 for a, b in ((left, right), (right, left)))

    assert likeness(left, left) == likeness("", "") == 1
    assert likeness(left, right) == likeness(right, left) == pytest.approx((there + back) / 2)
    assert likeness("", left) == likeness("x", "y") == 0


def test_without_sacrebleu_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)

    with pytest.raises(MissingExtraError, match="BLEU needs packages") as caught:
        statistics(["a"], ["b"])

    assert caught.value.hint == "pip install 'kd-deploy[distill]'"
