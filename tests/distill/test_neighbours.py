"""The nearest words: by hand, over the kinds of vocabulary there are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill.neighbours import Neighbours
from kd_deploy.errors import ShapeError

# Unit circle: the nearer two angles, the larger the cosine.
ANGLES = {"good": 0, "great": 10, "fine": 25, "film": 90, "movie": 95, "town": 180}


def circle(angles: dict[str, int], *, sizes: int = 1) -> tuple[dict[str, int], NDArray[np.float32]]:
    turns = np.radians(list(angles.values()))
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (1 + np.arange(len(turns)) % sizes)[:, None]
    return {word: row for row, word in enumerate(angles)}, vectors.astype(np.float32)


def neighbours(angles: dict[str, int] = ANGLES, *, most: int = 15, sizes: int = 1) -> Neighbours:
    vocabulary, vectors = circle(angles, sizes=sizes)
    return Neighbours.of(vocabulary, vectors, most=most)


def test_the_nearest_come_first_and_the_word_itself_never() -> None:
    assert neighbours().nearest("good") == ("great", "fine", "film", "movie", "town")
    assert neighbours(most=2).nearest("movie") == ("film", "fine")


def test_the_length_of_a_vector_does_not_matter() -> None:
    assert neighbours(sizes=4).nearest("good") == neighbours().nearest("good")


def test_they_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 8)).astype(np.float32)
    vocabulary = {f"w{row:03}": row for row in range(300)}

    found = Neighbours.of(vocabulary, vectors, most=7)

    cosine = (vectors @ vectors.T) / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    np.fill_diagonal(cosine, -2)
    for row, word in enumerate(vocabulary):
        assert found.nearest(word) == tuple(f"w{other:03}" for other in np.argsort(-cosine[row])[:7])


def test_looked_up_together_or_one_by_one_they_are_the_same() -> None:
    random = np.random.default_rng(1)
    vectors, vocabulary = random.normal(size=(200, 16)).astype(np.float16), {f"w{row}": row for row in range(200)}
    together, alone = Neighbours.of(vocabulary, vectors), Neighbours.of(vocabulary, vectors)

    together.look_up([*vocabulary, *vocabulary, "unknown"])

    assert [together.nearest(word) for word in vocabulary] == [alone.nearest(word) for word in reversed(vocabulary)][
        ::-1
    ]
    assert together.nearest("unknown") == ()


def test_a_word_that_is_no_entry_has_no_neighbours() -> None:
    assert neighbours().nearest("unheard") == ()
    assert Neighbours.of({}, np.zeros((0, 2), np.float32)).nearest("good") == ()


def test_the_first_letter_keeps_its_case() -> None:
    assert neighbours(most=2).nearest("Good") == ("Great", "Fine")
    assert neighbours(most=2).nearest("GOOD") == ("Great", "Fine")

    cased = neighbours({"paris": 0, "Paris": 5, "France": 10, "france": 12, "Rome": 30}, most=2)
    assert cased.nearest("paris") == ("france", "rome")
    assert cased.nearest("Paris") == ("France", "Rome")


def test_pieces_special_tokens_punctuation_and_lone_letters_are_no_candidates() -> None:
    odd = ["##ing", "[CLS]", "[unused1]", "<s>", ",", "...", "s", "é", "'", "$"]
    angles = ANGLES | dict.fromkeys(odd, 1)

    assert neighbours(angles).nearest("good") == neighbours().nearest("good")


def test_a_character_of_a_script_without_letters_case_is_a_word() -> None:
    assert neighbours({"好": 0, "佳": 5, "##好": 1, "坏": 30, "、": 2}).nearest("好") == ("佳", "坏")


def test_sentencepiece_words_begin_with_their_mark() -> None:
    angles = {"<s>": 0, "▁": 1, "▁good": 0, "▁great": 10, "ly": 2, "good": 3, "▁film": 90, "▁Great": 4}

    assert neighbours(angles).nearest("good") == ("great", "film")


def test_byte_level_words_are_read_from_their_bytes() -> None:
    angles = {"<|endoftext|>": 0, "Ġ": 1, "Ġgood": 0, "ĠcafÃ©": 10, "ly": 2, "##": 3, "ĠÃ": 4, "Ġå¥½": 19}

    assert neighbours(angles).nearest("good") == ("café", "好")
    assert neighbours(angles).nearest("café") == ("好", "good")


def test_a_few_words_with_the_letter_of_a_mark_are_no_byte_level_vocabulary() -> None:
    angles = {"Ġgantija": 1} | {f"word{number}": 2 + number for number in range(40)}

    assert "word1" in neighbours(angles).nearest("word0")


def test_only_the_rows_of_the_vocabulary_are_read() -> None:
    vocabulary, vectors = circle(ANGLES)
    padded = np.concatenate([vectors, np.full((3, 2), np.nan, np.float32)])

    assert Neighbours.of(vocabulary, padded).nearest("good") == neighbours().nearest("good")


def test_a_row_of_zeros_is_near_to_nothing() -> None:
    vocabulary, vectors = circle({"good": 0, "great": 10, "empty": 0})
    vectors[2] = 0

    found = Neighbours.of(vocabulary, vectors)

    assert found.nearest("good") == ("great", "empty")
    assert np.isfinite(found.units).all()


@pytest.mark.parametrize("shape", [(5, 2), (6,), (6, 2, 1), (0, 2)])
def test_a_table_that_does_not_fit_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="embedding table"):
        Neighbours.of({word: row for row, word in enumerate(ANGLES)}, np.zeros(shape, np.float32))
