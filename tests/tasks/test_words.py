"""Tokens of a text, and which of them begin a word."""

import pytest

from kd_deploy.tasks.encoding import Places
from kd_deploy.tasks.words import Tokens, tokens_of


def tokens(text: str, *, words: list[int | None] | None = None) -> Tokens:
    """The tokens between bars; without `words` the tokenizer calls all of them one word."""
    parts = text.split("|")
    ends = [sum(len(one) for one in parts[: place + 1]) for place in range(len(parts))]
    characters = [(end - len(one), end) for one, end in zip(parts, ends, strict=True)]
    return tokens_of("".join(parts), Places(characters, words or [0] * len(parts), [0] * len(parts)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada| lives| in| Par|is", ["Ada", "lives", "in", "Par+is"]),  # the space with the word behind it
        ("Ada |lives |in |Par|is", ["Ada", "lives", "in", "Par+is"]),
        ("Ada| |lives", ["Ada", "lives"]),
        ("Par|is|,| |Rome|.", ["Par+is", ",", "Rome", "."]),
        ("(|Par|is|)", ["(", "Par+is", ")"]),
        ("New|-|York", ["New", "-", "York"]),
        ("5|€|!|!", ["5", "€", "!", "!"]),
        ("北京|是|首都", ["北京", "是", "首都"]),
        ("in|北京|now", ["in", "北京", "now"]),
        ("ab|ab|ab", ["ab+ab+ab"]),
    ],
)
def test_a_word_ends_at_spaces_and_punctuation_whatever_a_tokenizer_calls_one(text: str, expected: list[str]) -> None:
    found, plain = tokens(text), text.replace("|", "")

    shown = [plain[start:end] for start, end in zip(found.starts, found.ends, strict=True)]
    joined = "".join((" " if begins else "+") + one for one, begins in zip(shown, found.begins, strict=True))
    assert joined.split() == expected


def test_the_words_of_a_tokenizer_count_as_well() -> None:
    found = tokens("don|'|t|go", words=[0, 0, 1, 2])

    assert found.begins.tolist() == [True, True, True, True]
    assert tokens("go|ing|on", words=[0, 0, 1]).begins.tolist() == [True, False, True]


def test_parts_of_one_character_are_one_word() -> None:
    text = "€"  # as bytes: three tokens of the same place

    found = tokens_of(text, Places([(0, 1)] * 3, [0] * 3, [0] * 3))

    assert found.begins.tolist() == [True, False, False]


def test_special_tokens_and_spaces_show_nothing_and_characters_are_those_of_the_whole_text() -> None:
    places = Places([(0, 0), (0, 3), (3, 4), (4, 6), (0, 0)], [None, 0, 0, 0, None], [None, 0, 0, 0, None])

    found = tokens_of("Ada is", places, start=100)

    assert found.rows.tolist() == [1, 3]
    assert (found.starts.tolist(), found.ends.tolist()) == ([100, 104], [103, 106])
    assert found.within(101, 200).rows.tolist() == [3]


@pytest.mark.parametrize("text", ["", "  "])
def test_a_text_that_shows_nothing_has_no_tokens(text: str) -> None:
    places = Places([(0, len(text))], [0], [0])

    assert tokens_of(text, places).rows.tolist() == []
