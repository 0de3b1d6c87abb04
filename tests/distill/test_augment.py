"""New texts: what may change in a text, how often, and what never changes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from kd_deploy.distill.augment import LONGEST_NGRAM, Augmentation, augmented
from kd_deploy.distill.neighbours import Neighbours
from kd_deploy.errors import RecipeError
from kd_deploy.tasks.encoding import TextInput

MASK = "[MASK]"
WORDS = ("good", "great", "fine", "film", "movie", "town", "people", "story", "long", "warm")
OTHERS = tuple(f"{word}er" for word in WORDS)  # One other word lies beside each.
TEXT = "good film , warm people and a long story of the town ."


@dataclass(frozen=True)
class Settings:
    mask: float = 0.0
    replace: float = 0.0
    ngram: float = 0.0
    copies: int = 1
    seed: int = 0


def neighbours() -> Neighbours:
    table = np.repeat(np.eye(len(WORDS), dtype=np.float32), 2, axis=0)
    entries = [word for pair in zip(WORDS, OTHERS, strict=True) for word in pair]
    return Neighbours.of({word: row for row, word in enumerate(entries)}, table, most=1)


def many(count: int = 400, *, words: int = 10) -> list[TextInput]:
    random = np.random.default_rng(0)
    return [f"{' '.join(random.choice(WORDS, size=words))} number{row} ." for row in range(count)]


def new(inputs: list[TextInput], settings: Augmentation) -> list[TextInput]:
    return augmented(inputs, settings, neighbours=neighbours(), mask_token=MASK)


ALL = Settings(mask=0.2, replace=0.3, ngram=0.25, copies=3)
EACH = {
    "mask": Settings(mask=0.3, copies=3),
    "replace": Settings(replace=0.5, copies=3),
    "ngram": Settings(ngram=1.0, copies=3),
    "all": ALL,
}


@pytest.fixture(params=list(EACH))
def settings(request: pytest.FixtureRequest) -> Settings:
    return EACH[request.param]


def test_masks_stand_where_words_stood() -> None:
    (one,) = new([TEXT], Settings(mask=0.4))

    assert isinstance(one, str)
    pairs = list(zip(TEXT.split(), one.split(), strict=True))
    assert {there for here, there in pairs if here != there} == {MASK}
    assert all(here == there for here, there in pairs if here in ",.")


def test_replaced_words_are_neighbours() -> None:
    (one,) = new([TEXT], Settings(replace=1.0))

    beside = dict(zip(WORDS, OTHERS, strict=True))
    assert one == " ".join(beside.get(word, word) for word in TEXT.split())


def test_an_ngram_is_one_to_five_words_in_a_row() -> None:
    texts = many(200)

    found = [str(one) for one in new(texts, Settings(ngram=1.0, copies=2))]

    assert {len(one.split()) for one in found} == set(range(1, LONGEST_NGRAM + 1))
    everything = "\n".join(map(str, texts))
    assert all(one in everything for one in found)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("what", ["mask", "replace"])
def test_the_share_of_changed_words_is_the_one_asked_for(what: str, share: float) -> None:
    texts = many(words=40)

    found = new(texts, Settings(mask=share) if what == "mask" else Settings(replace=share))

    changed = [
        here != there
        for text, one in zip(texts, found, strict=True)
        for here, there in zip(str(text).split(), str(one).split(), strict=True)
        if here in WORDS
    ]
    assert np.mean(changed) == pytest.approx(share, abs=0.02)


def test_mask_and_replace_share_the_words() -> None:
    found = new(many(words=40), Settings(mask=0.5, replace=0.5))

    words = [word for one in found for word in str(one).split() if not word.startswith(("number", "."))]
    assert set(words) == {MASK, *OTHERS}
    assert words.count(MASK) / len(words) == pytest.approx(0.5, abs=0.03)


def test_the_share_of_ngrams_is_the_one_asked_for() -> None:
    found = new(many(words=40), Settings(mask=0.5, ngram=0.25))

    assert np.mean([len(str(one).split()) <= LONGEST_NGRAM for one in found]) == pytest.approx(0.25, abs=0.06)


def test_punctuation_and_spacing_stay() -> None:
    text = '  "good"  film, (warm)\tpeople!\n'

    assert new([text], Settings(replace=1.0)) == ['  "gooder"  filmer, (warmer)\tpeopleer!\n']


def test_a_text_without_spaces_is_changed_by_character() -> None:
    text = "房间太小、但是早餐很好。"

    (one,) = new([text], Settings(mask=0.3))

    bare = str(one).replace(MASK, "_")
    assert len(bare) == len(text)
    assert "_" in bare
    assert all(there in {"_", here} for here, there in zip(text, bare, strict=True))
    assert (bare[4], bare[-1]) == ("、", "。")


def test_a_new_text_is_never_empty_and_never_of_masks_alone(settings: Settings) -> None:
    texts: list[TextInput] = ["good", "film .", "a b", ("good", "film"), ("good film", "."), ".", "", " ", *many(50)]

    for one in new(texts, replace(settings, copies=8)):
        sides = (one,) if isinstance(one, str) else one
        assert all(side.replace(MASK, "").strip() for side in sides)
        assert any(letter.isalpha() for letter in sides[0].replace(MASK, ""))


@pytest.mark.parametrize("text", ["", " ", "...", "🙂 !"])
def test_a_text_without_words_gives_nothing(text: str) -> None:
    assert new([text, (text, text)], ALL) == []


def test_nothing_new_is_an_original_or_comes_twice(settings: Settings) -> None:
    texts: list[TextInput] = ["good film", "gooder film", "good filmer", "good", "film", *many(50, words=3)]

    found = new([*texts, *texts], replace(settings, copies=10))

    assert found
    assert len(set(found)) == len(found)
    assert not set(found) & set(texts)


def test_a_long_text_gives_as_many_as_asked_for(settings: Settings) -> None:
    for text in many(20, words=20):
        assert len(new([text], replace(settings, copies=4))) == 4
        assert new([text], replace(settings, copies=0)) == []


def test_nothing_asked_for_is_nothing_made() -> None:
    assert new(many(20), Settings(copies=3)) == []
    assert new([], ALL) == []


def test_the_seed_decides(settings: Settings) -> None:
    texts = many(50)

    assert new(texts, settings) == new(texts, settings)
    assert new(texts, settings) != new(texts, replace(settings, seed=1))


def test_words_looked_up_before_change_nothing() -> None:
    warm = neighbours()
    warm.look_up(reversed(WORDS))

    assert augmented(many(50), ALL, neighbours=warm, mask_token=MASK) == new(many(50), ALL)


def test_a_row_is_changed_alike_whatever_comes_after_it(settings: Settings) -> None:
    texts = many(50)

    few = new(texts[:20], settings)

    assert new(texts, settings)[: len(few)] == few


def test_fewer_copies_are_the_first_of_many(settings: Settings) -> None:
    (text,) = many(1, words=20)

    assert new([text], replace(settings, copies=5))[:2] == new([text], replace(settings, copies=2))


def test_they_stand_in_the_order_of_their_rows() -> None:
    found = new(many(100), Settings(replace=0.3, copies=2))

    rows = [int(str(one).split("number")[1].split()[0]) for one in found]
    assert rows == sorted(rows)


def test_both_sides_of_a_pair_are_changed_and_stay_apart() -> None:
    (one,) = new([("good film .", "Warm people !")], Settings(replace=1.0))

    assert one == ("gooder filmer .", "Warmer peopleer !")


def test_one_side_of_a_pair_at_most_is_cut() -> None:
    pairs: list[TextInput] = [(TEXT, f"{TEXT} again {row}") for row in range(100)]

    found = new(pairs, Settings(ngram=1.0))

    whole = [tuple(len(side) >= len(TEXT) for side in one) for one in found]
    assert set(whole) == {(True, False), (False, True)}


def test_a_side_without_words_is_kept() -> None:
    found = new([("good film", "..."), ("", "good film")], Settings(replace=1.0))

    assert found == [("gooder filmer", "..."), ("", "gooder filmer")]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (Settings(mask=1.2), "mask is 1.2"),
        (Settings(replace=-0.1), "replace is -0.1"),
        (Settings(ngram=float("nan")), "ngram is nan"),
        (Settings(copies=-1), "copies is -1"),
        (Settings(seed=-1), "seed is -1"),
        (Settings(mask=0.6, replace=0.5), "add up to 1.1"),
    ],
)
def test_a_setting_out_of_its_range_is_named(settings: Settings, match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        new([TEXT], settings)


def test_a_setting_needs_what_it_draws_from() -> None:
    with pytest.raises(RecipeError, match="embedding table"):
        augmented([TEXT], Settings(replace=0.1), neighbours=None, mask_token=MASK)
    with pytest.raises(RecipeError, match="mask token"):
        augmented([TEXT], Settings(mask=0.1), neighbours=None, mask_token="")
    assert augmented([TEXT], Settings(ngram=1.0), neighbours=None, mask_token="")
