"""Long texts to slices whose tokens are those of the whole text."""

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, models, processors, trainers

from kd_deploy.tasks.encoding import Encoder, utf8
from kd_deploy.tasks.slices import _Slicer, slices
from kd_deploy.tasks.task import Piece
from tests.tasks.test_windows import CORPUS, LONG, UNKNOWN, WORDS, byte_level, encoder, unigram, untruncated, word_piece


def gpt() -> Tokenizer:
    tokenizer = byte_level(prefix=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def bare_word_piece() -> Tokenizer:
    tokenizer = word_piece()
    tokenizer.post_processor = processors.Sequence([])
    return tokenizer


def one_word() -> Tokenizer:
    """Pairs of characters are joined across the spaces too."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trainer = trainers.BpeTrainer(vocab_size=150, show_progress=False, special_tokens=[UNKNOWN])
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": gpt,
    "bytes and marks": lambda: byte_level(prefix=False),
    "bytes with a space in front": lambda: byte_level(prefix=True),
    "word pieces": bare_word_piece,
    "word pieces and marks": word_piece,
    "unigrams and marks": unigram,
    "one word": one_word,
}


def ids_of(text: str, chosen: Encoder) -> list[int]:
    return list(untruncated(chosen).encode(utf8(text), add_special_tokens=False).ids)


def parts(text: str, chosen: Encoder) -> list[str]:
    return [str(piece.input) for piece in slices([text], chosen)]


def test_what_fits_is_one_piece_as_it_is() -> None:
    texts = ["", " ", "ba be", " ".join(WORDS[:8]), "ba \n be  "]

    assert slices(texts, encoder(max_length=10)) == [Piece(row, one) for row, one in enumerate(texts)]
    assert slices([], encoder(max_length=10)) == []


def test_slices_are_full_and_follow_each_other() -> None:
    found = slices(["ba", " ".join(WORDS[:20])], encoder(max_length=10))  # room for 8

    assert found == [
        Piece(0, "ba", 0),
        Piece(1, " ".join(WORDS[:8]), 0),
        Piece(1, " " + " ".join(WORDS[8:16]), 23),
        Piece(1, " " + " ".join(WORDS[16:20]), 47),
    ]


def test_one_token_too_many_makes_two_slices() -> None:
    chosen = encoder(max_length=10)

    assert len(slices([" ".join(WORDS[:8])], chosen)) == 1
    assert len(slices([" ".join(WORDS[:9])], chosen)) == 2


def test_a_word_piece_word_is_not_divided_where_it_fits() -> None:
    chosen = encoder(bare_word_piece(), max_length=6)

    assert parts("ba be bi xxxxxxx bo", chosen) == ["ba be bi", " xxxxxxx bo"]  # x ##xx ##xx ##xx


def test_bytes_are_cut_behind_any_token() -> None:
    chosen = encoder(gpt(), max_length=5)
    text = "ba " + "qzqzqzqzqzqz" + " be"

    assert [len(ids_of(one, chosen)) for one in parts(text, chosen)[:-1]] == [5, 5, 5]
    assert "".join(parts(text, chosen)) == text


def test_a_character_of_several_tokens_is_not_divided() -> None:
    chosen = encoder(gpt(), max_length=5)
    text = "東🎈" * 9

    assert len(ids_of("🎈", chosen)) > 1
    assert "".join(parts(text, chosen)) == text
    assert [token for one in parts(text, chosen) for token in ids_of(one, chosen)] == ids_of(text, chosen)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("max_length", [8, 11, 16, 32])
def test_the_tokens_of_the_slices_are_those_of_the_text(kind: str, max_length: int) -> None:
    chosen, rng = encoder(KINDS[kind](), max_length=max_length), random.Random(max_length)
    strange = ("it's", "🙂", "\n\n", "\t", "  ", "\ud800", "naïve", "", "ﬃ", "1,5", "<s>")
    texts = [
        " ".join(rng.choice(strange if rng.random() < 0.2 else WORDS) for _ in range(rng.randrange(1, 200)))
        for _ in range(12)
    ]
    room = max_length - chosen.tokenizer.num_special_tokens_to_add(False)

    pieces = slices(texts, chosen)

    for row, text in enumerate(texts):
        mine = [str(one.input) for one in pieces if one.row == row]
        found = [ids_of(one, chosen) for one in mine]
        assert "".join(mine) == text
        assert [one.start for one in pieces if one.row == row] == [len("".join(mine[:k])) for k in range(len(mine))]
        assert all(len(one) <= room for one in found)
        assert [token for one in found for token in one] == ids_of(text, chosen)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("max_length", [8, 16])
def test_words_longer_than_the_room_are_read_to_their_end(kind: str, max_length: int) -> None:
    chosen, rng = encoder(KINDS[kind](), max_length=max_length), random.Random(max_length)
    words = (*WORDS[:8], *LONG, "x" * 90, "東" * 20)
    for _ in range(8):
        text = " ".join(rng.choices(words, k=60))
        found = parts(text, chosen)
        assert "".join(found) == text
        assert all(len(chosen.encode(one)) == len(untruncated(chosen).encode(one)) for one in found)


def test_a_word_behind_a_gap_longer_than_is_looked_at_is_read() -> None:
    chosen = encoder(max_length=10)

    found = parts("ba" + " " * 5000 + "be bi", chosen)

    assert [chosen.encode(one).ids[1:-1] for one in found] == [ids_of("ba", chosen), ids_of("be bi", chosen)]


def test_many_spaces_without_a_word_are_one_piece() -> None:
    assert slices([" " * 5000], encoder(max_length=10)) == [Piece(0, " " * 5000)]


def test_the_shared_tokenizer_is_left_alone() -> None:
    chosen = encoder(max_length=10)
    before = chosen.tokenizer.to_str()

    slices([" ".join(WORDS)], chosen)

    assert chosen.tokenizer.to_str() == before


def test_many_texts_keep_their_order() -> None:
    texts = [" ".join(WORDS[: 1 + row % 20]) for row in range(2500)]

    pieces = slices(texts, encoder(max_length=10))

    assert [piece.row for piece in pieces] == sorted(piece.row for piece in pieces)
    assert all(texts[piece.row][piece.start :].startswith(str(piece.input)) for piece in pieces)
    assert {piece.row for piece in pieces} == set(range(2500))


def test_the_work_grows_with_the_text_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, text = encoder(gpt(), max_length=128), " ".join(WORDS * 750)  # 30,000 words
    tokenise, tokenised = _Slicer.ids, []

    def counted(self: _Slicer, part: str) -> list[int]:
        tokenised.append(len(part))
        return tokenise(self, part)

    monkeypatch.setattr(_Slicer, "ids", counted)
    found = slices([text], chosen)

    assert len(found) > 200
    assert len(text) < sum(tokenised) < 4 * len(text)
