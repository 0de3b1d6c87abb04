"""A text as words: nothing is lost, and what a word is depends on the script."""

import pytest

from kd_deploy.distill.words import peel, split

TEXTS = (
    'a (great) film, don\'t  "miss" it!\t ok .',
    "15.4寸笔记本的键盘、3G网络确实爽。 ok",
    "「映画」はとても良かった。",
    "วันนี้อากาศดี",
    "हिन्दी में फ़िल्म",
    "the film 霸王别姬 is great",
    " \n...",
    "",
    "\ud800 broken 🙂",
    "a\x00b \u200b",
)


def words_of(text: str) -> list[str]:
    words = split(text)
    return [words[index] for index in range(len(words))]


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_are_the_text(text: str) -> None:
    words = split(text)

    assert "".join(words.parts) == text
    assert all(words.parts)
    assert list(words.places) == sorted(set(words.places))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (great) film, don't miss it!", ["a", "great", "film", "don't", "miss", "it"]),
        ("revenge-of-the-nerds 3.5 '90s U.S.", ["revenge-of-the-nerds", "3.5", "90s", "U.S"]),
        ("... !? -- 🙂", []),
        ("हिन्दी में।", ["हिन्दी", "में"]),
        ("정말 좋은 영화!", ["정말", "좋은", "영화"]),
    ],
)
def test_words_stand_between_spaces_and_punctuation(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("房间太小。", ["房", "间", "太", "小"]),
        ("15.4寸、3G网络 ok", ["15.4", "寸", "3G", "网", "络", "ok"]),
        ("「映画」は", ["映", "画", "は"]),
        ("𠮷野", ["𠮷", "野"]),
        ("ดีที่", ["ดี", "ที่"]),
    ],
)
def test_characters_are_the_words_of_a_script_without_spaces(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_the_larger_part_of_the_letters_decides() -> None:
    assert words_of("the film 霸王别姬 is great") == ["the", "film", "霸王别姬", "is", "great"]
    assert words_of("电影 good 很好看") == ["电", "影", "good", "很", "好", "看"]


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ("film", ("", "film", "")),
        ("(«film»),", ("(«", "film", "»),")),
        ("'s", ("'", "s", "")),
        ("...", ("...", "", "")),
        ("", ("", "", "")),
    ],
)
def test_punctuation_is_peeled_from_both_ends(chunk: str, expected: tuple[str, str, str]) -> None:
    assert peel(chunk) == expected
