"""Long inputs to slices of plain text."""

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from kd_deploy.tasks.encoding import Encoder, TextInput
from kd_deploy.tasks.task import Piece
from kd_deploy.tasks.windows import windows

WORDS = tuple(f"{letter}{vowel}" for letter in "bdfgklmn" for vowel in "aeiou")  # 40 words of one token each
LONG = ("kaxxx", "x" * 30, "naïve", "🙂🙂", "it's", "東京都")  # of several
CORPUS = [" ".join((*WORDS, *LONG))] * 3
UNKNOWN = "[UNK]"
ENDS = [("[CLS]", 0), ("[SEP]", 1)]


def word_piece() -> Tokenizer:
    tokens = ["[CLS]", "[SEP]", UNKNOWN, *WORDS, *"xits'", "##x", "##xx", "na", "##ive"]
    tokenizer = Tokenizer(models.WordPiece({token: id_ for id_, token in enumerate(tokens)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ENDS
    )
    return tokenizer


def byte_level(*, prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, show_progress=False, initial_alphabet=alphabet, special_tokens=["<s>"]
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("<s>", 0), ("<s>", 0), add_prefix_space=prefix)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["[CLS]", "[SEP]", UNKNOWN]
    trainer = trainers.UnigramTrainer(vocab_size=90, show_progress=False, special_tokens=specials, unk_token=UNKNOWN)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = word_piece().post_processor
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "word pieces": word_piece,
    "bytes": lambda: byte_level(prefix=False),
    "bytes with a space in front": lambda: byte_level(prefix=True),
    "unigrams": unigram,
}


def encoder(tokenizer: Tokenizer | None = None, *, max_length: int) -> Encoder:
    chosen = tokenizer or word_piece()
    chosen.enable_truncation(max_length)
    return Encoder(tokenizer=chosen, max_length=max_length, pad_id=0)


def sliced(piece: Piece) -> str:
    return piece.input if isinstance(piece.input, str) else piece.input[1]


def untruncated(chosen: Encoder) -> Tokenizer:
    copy = Tokenizer.from_str(chosen.tokenizer.to_str())
    copy.no_truncation()
    return copy


@pytest.mark.parametrize(
    "one", ["", "ba be", ("ba", "be bi"), " ".join(WORDS[:8]), ("ba be", " ".join(WORDS[:5])), " "]
)
def test_what_fits_is_one_piece_as_it_is(one: TextInput) -> None:
    assert windows([one], encoder(max_length=10)) == [Piece(0, one, 0)]


def test_no_input_is_no_piece() -> None:
    assert windows([], encoder(max_length=10)) == []


def test_slices_share_a_quarter_of_their_tokens() -> None:
    found = windows([" ".join(WORDS[:22])], encoder(max_length=10))  # room for 8

    assert [sliced(piece).split() for piece in found] == [
        [*WORDS[0:8]], [*WORDS[6:14]], [*WORDS[12:20]], [*WORDS[18:22]],
    ]  # fmt: skip
    assert [piece.start for piece in found] == [0, 17, 35, 53]  # with the space in front


def test_only_the_second_text_of_a_pair_is_sliced() -> None:
    found = windows(["ba", ("ba be", " ".join(WORDS[:16]))], encoder(max_length=13))  # room for 13 - 3 - 2 = 8

    assert found == [
        Piece(0, "ba", 0),
        Piece(1, ("ba be", " ".join(WORDS[:8])), 0),
        Piece(1, ("ba be", " " + " ".join(WORDS[6:14])), 17),
        Piece(1, ("ba be", " " + " ".join(WORDS[12:16])), 35),
    ]


def test_one_token_too_many_makes_two_slices() -> None:
    chosen = encoder(max_length=10)

    assert len(windows([" ".join(WORDS[:8])], chosen)) == 1
    assert len(windows([" ".join(WORDS[:9])], chosen)) == 2


def test_words_are_not_divided_where_they_fit() -> None:
    text = " ".join([*WORDS[:6], "xxxxxxx", *WORDS[:6], "naïve", "xxxx"] * 4)

    pieces = windows([text], encoder(max_length=10))

    assert {word for piece in pieces for word in sliced(piece).split()} == set(text.split())


@pytest.mark.parametrize("around", ["", " ba be ", " ba be bi bo bu da de di do "])
def test_a_word_longer_than_the_room_is_divided(around: str) -> None:
    text = f"{around}{'x' * 60}{around}"  # a word of 30 tokens, room for 8

    pieces = windows([text], encoder(max_length=10))

    covered = {piece.start + place for piece in pieces for place in range(len(sliced(piece)))}
    assert covered >= {place for place, character in enumerate(text) if character != " "}


def test_a_long_question_is_cut_to_half() -> None:
    question = " ".join(WORDS[:20])

    found = windows([(question, " ".join(WORDS[20:36]))], encoder(max_length=20))  # 20 - 3 - 10 = 7 for the question

    assert {piece.input[0] for piece in found} == {" ".join(WORDS[:7])}
    assert sliced(found[0]) == " ".join(WORDS[20:30])


def test_a_question_that_leaves_half_is_not_cut() -> None:
    question = " ".join(WORDS[:7]) + "  "

    assert {piece.input[0] for piece in windows([(question, " ".join(WORDS))], encoder(max_length=20))} == {question}


def test_a_question_of_one_long_word_is_cut_within_it() -> None:
    found = windows([("x" * 60, " ".join(WORDS[:10]))], encoder(max_length=20))

    # One x, and six times two: seven tokens.
    assert [piece.input for piece in found] == [("x" * 13, " ".join(WORDS[:10]))]


def test_a_text_is_read_to_its_end() -> None:
    text = " ".join(WORDS * 200)  # far beyond what an encoder looks at

    pieces = windows([text], encoder(max_length=10))

    assert text.endswith(sliced(pieces[-1]))
    assert pieces[-1].start + len(sliced(pieces[-1])) == len(text)


@pytest.mark.parametrize("text", ["ba" + " " * 5000 + "be", " " * 5000 + "ba be", "ba " + "\u200b" * 5000 + " be"])
def test_a_word_behind_a_long_gap_is_read(text: str) -> None:
    chosen = encoder(max_length=10)

    pieces = windows([text, ("ba", text)], chosen)

    encoded = chosen.encode_all([piece.input for piece in pieces])
    be = chosen.tokenizer.token_to_id("be")
    assert {piece.row for piece, one in zip(pieces, encoded, strict=True) if be in one.ids} == {0, 1}


def test_a_text_without_tokens_is_one_piece() -> None:
    assert windows([" " * 5000], encoder(max_length=10)) == [Piece(0, " " * 5000, 0)]


def test_the_shared_tokenizer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = encoder(max_length=10)
    before = chosen.tokenizer.to_str()

    windows([" ".join(WORDS)], chosen)

    assert chosen.tokenizer.to_str() == before

    monkeypatch.setattr("kd_deploy.tasks.windows.Tokenizer", None)
    assert len(windows(["ba be", ("ba", "be")] * 10, chosen)) == 20  # all fit: no copy is made


def test_many_inputs_keep_their_order() -> None:
    inputs = [" ".join(WORDS[: 1 + row % 20]) for row in range(2500)]

    pieces = windows(inputs, encoder(max_length=10))

    assert [piece.row for piece in pieces] == sorted(piece.row for piece in pieces)
    assert {piece.row for piece in pieces} == set(range(2500))
    assert all(inputs[piece.row][piece.start :].startswith(sliced(piece)) for piece in pieces)


def test_a_slice_has_the_tokens_that_it_had_in_the_text() -> None:
    chosen = encoder(byte_level(prefix=False), max_length=12)
    text = " ".join((*WORDS, *WORDS))
    whole = untruncated(chosen).encode(text, add_special_tokens=False)

    for piece, one in zip(pieces := windows([text], chosen), chosen.encode_all([p.input for p in pieces]), strict=True):
        first = next(token for token, (start, _) in enumerate(whole.offsets) if start >= piece.start)
        assert one.ids[1:-1] == whole.ids[first : first + len(one) - 2]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("max_length", [8, 11, 16, 32])
def test_every_token_of_any_text_is_read_in_some_piece(kind: str, max_length: int) -> None:
    chosen, rng = encoder(KINDS[kind](), max_length=max_length), random.Random(max_length)
    strange = (*LONG, "x" * 90, "  ", "\ud800", "東" * 20, "🙂" * 9, "")
    for _ in range(12):
        first, second = (
            " ".join(rng.choice(strange if rng.random() < 0.2 else WORDS) for _ in range(rng.randrange(60)))
            for _ in range(2)
        )
        check_that_all_is_read(first, chosen)
        check_that_all_is_read((first[: rng.randrange(80)], second), chosen)


def check_that_all_is_read(one: TextInput, chosen: Encoder) -> None:
    text = one if isinstance(one, str) else one[1]
    whole, pieces = untruncated(chosen), windows([one], chosen)
    read: set[int] = set()
    for piece, encoded in zip(pieces, chosen.encode_all([p.input for p in pieces], places=True), strict=True):
        assert text[piece.start :].startswith(sliced(piece))
        assert encoded.places is not None
        for (start, end), of in zip(encoded.places.characters, encoded.places.texts, strict=True):
            if of == (not isinstance(one, str)):
                read.update(range(piece.start + start, piece.start + end))
    shown = whole.encode(text.replace("\ud800", "?"), add_special_tokens=False)
    assert read >= {place for start, end in shown.offsets for place in range(start, end)}
    assert sorted({piece.start for piece in pieces}) == [piece.start for piece in pieces]  # each begins further on
