"""Words of a text hidden: which, behind how many mask tokens, and when none are."""

import random
from collections.abc import Sequence

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from kd_deploy.errors import BundleError
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.masking import hiding, mask_of, masked, shown
from kd_deploy.tasks.pieces import whole
from kd_deploy.tasks.task import UNKNOWN, Hidden, Piece
from kd_deploy.tasks.windows import windows

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MASK = "[MASK]"
WORDS = tuple(f"{letter}{vowel}" for letter in "bdfg" for vowel in "aeiou")  # of one token each
LONGER = ("baba", "bebabe", "dobaba")  # of two tokens, and of three
CORPUS = ["the fox runs, the dog sleeps", "the long story of the fox"] * 4


def word_piece(mask: str = MASK) -> Tokenizer:
    entries = [*SPECIAL, mask, *WORDS, "##ba", "##be", ".", ","]
    tokenizer = Tokenizer(models.WordPiece({token: id_ for id_, token in enumerate(entries)}, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(entries[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def id_of(token: str) -> int:
    found = word_piece().token_to_id(token)
    assert found is not None
    return found


def byte_level(*, takes_space: bool = True, trims: bool = True) -> Tokenizer:
    """As RoBERTa's: a space in front is part of a word, and of the mask where it `takes_space`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"]
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=takes_space, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=trims, add_prefix_space=False
    )
    return tokenizer


def encoder(tokenizer: Tokenizer | None = None, *, max_length: int = 64) -> Encoder:
    chosen = tokenizer or word_piece()
    chosen.enable_truncation(max_length)
    return Encoder(tokenizer=chosen, max_length=max_length, pad_id=0)


def hide(*texts: str, by: Encoder | None = None) -> list[Piece]:
    return masked(whole(texts), by or encoder())


def hidden(piece: Piece) -> Hidden:
    assert piece.hidden is not None
    return piece.hidden


def read(piece: Piece, by: Encoder) -> list[str]:
    """The tokens of a piece as a model reads it."""
    ids = hiding(by.encode(piece.input), hidden(piece)).ids
    return [str(by.tokenizer.id_to_token(one)) for one in ids]


def seen(piece: Piece, by: Encoder) -> str:
    """The text of a piece as a user sees what is hidden of it."""
    return shown(piece, by.encode_all([piece.input], places=True)[0])


def some_texts(count: int, *, words: Sequence[str] = (*WORDS, *LONGER)) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(words, k=rng.randint(3, 20))) for _ in range(count)]


def test_the_same_words_of_the_same_text_each_time() -> None:
    texts = some_texts(30)
    order = random.Random(1).sample(range(len(texts)), len(texts))

    first, again = hide(*texts), hide(*(texts[row] for row in order))

    assert [(first[row].input, hidden(first[row]).places) for row in order] == [
        (one.input, hidden(one).places) for one in again
    ]


def test_other_texts_hide_other_words() -> None:
    texts = [f"{' '.join(WORDS[:9])} {last}" for last in WORDS]

    assert len({hidden(one).places for one in hide(*texts)}) > 3


@pytest.mark.parametrize(("words", "expected"), [(1, 1), (3, 1), (10, 2), (20, 3)])
def test_a_seventh_of_the_words_is_hidden_and_never_none(words: int, expected: int) -> None:
    piece = hide(" ".join(WORDS[:words]))[0]

    assert read(piece, encoder()).count(MASK) == len(hidden(piece).places) == expected


@pytest.mark.parametrize(
    ("text", "masked_text", "places", "tokens"),
    [
        ("ba", "[MASK]", (1,), ["ba"]),
        ("Ba", "[MASK]", (1,), ["ba"]),
        (" baba ", " [MASK] [MASK] ", (1, 2), ["ba", "##ba"]),
        ("bebabe", "[MASK] [MASK] [MASK]", (1, 2, 3), ["be", "##ba", "##be"]),
    ],
)
def test_a_word_becomes_as_many_masks_as_it_has_tokens(
    text: str, masked_text: str, places: tuple[int, ...], tokens: list[str]
) -> None:
    piece = hide(text)[0]

    assert (piece.input, seen(piece, encoder())) == (text, masked_text)
    assert read(piece, encoder()) == ["[CLS]", *[MASK] * len(places), "[SEP]"]
    assert hidden(piece).places == places
    assert [hidden(piece).tokenizer.id_to_token(one) for one in hidden(piece).ids] == tokens


def test_whole_words_are_hidden_and_the_rest_stays_as_it_is() -> None:
    by, texts = encoder(), [f"{one}, {one[:5]}." for one in some_texts(40)]

    for text, piece, before in zip(texts, hide(*texts, by=by), by.encode_all(texts, places=True), strict=True):
        assert before.places is not None
        chosen = {before.places.words[place] for place in hidden(piece).places}
        assert None not in chosen
        assert {place for place, word in enumerate(before.places.words) if word in chosen} == {*hidden(piece).places}
        assert [before.ids[place] for place in hidden(piece).places] == [*hidden(piece).ids]
        kept = [one.strip() for one in seen(piece, by).split(MASK) if one.strip()]
        assert all(part in text for part in kept)


@pytest.mark.parametrize(
    ("text", "places"), [("[MASK] ba be", (1,)), ("ba[MASK]", (2,)), ("ba [MASK] be [MASK] [MASK].", (2, 4, 5))]
)
def test_where_the_user_hid_words_nothing_else_is_hidden(text: str, places: tuple[int, ...]) -> None:
    piece = hide(text)[0]

    assert seen(piece, encoder()) == piece.input == text
    assert hidden(piece).places == places
    assert hidden(piece).ids == (UNKNOWN,) * len(places)


@pytest.mark.parametrize("text", ["", "   "])
def test_a_text_without_words_hides_nothing(text: str) -> None:
    assert hide(text, "ba")[0] == Piece(0, text)


def test_no_text_is_no_piece() -> None:
    assert hide() == []


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(BundleError, match=r"no mask token: neither \[MASK\] nor <mask> is in its vocabulary") as caught:
        hide("ba be", by=encoder(word_piece("[NONE]")))

    assert caught.value.hint == "use the tokenizer of a masked language model"


def test_the_mask_token_is_the_tokenizers_own() -> None:
    assert mask_of(word_piece()) == MASK
    assert mask_of(byte_level()) == "<mask>"


@pytest.mark.parametrize("trims", [True, False])
def test_bytes_are_hidden_with_the_space_before_them(trims: bool) -> None:
    by = encoder(byte_level(trims=trims))
    texts = ("the fox", "the fox runs, the dog sleeps", "a zebra in the story, of the fox", "fox")

    pieces = hide(*texts, by=by)

    assert all(read(piece, by).count("<mask>") == len(hidden(piece).ids) for piece in pieces)
    tokens = {str(by.tokenizer.id_to_token(one)) for piece in pieces for one in hidden(piece).ids}
    assert any(token.startswith("Ġ") for token in tokens)
    assert all(seen(piece, by).count("<mask>") == len(hidden(piece).ids) for piece in pieces)


@pytest.mark.parametrize("takes_space", [True, False])
def test_masks_take_the_places_of_tokens_however_a_tokenizer_would_read_them_in_a_text(takes_space: bool) -> None:
    by = encoder(byte_level(takes_space=takes_space))

    for piece, before in zip(hide("zebra", "the", by=by), by.encode_all(["zebra", "the"]), strict=True):
        assert read(piece, by) == ["<s>", *["<mask>"] * (len(before) - 2), "</s>"]


@pytest.mark.parametrize("text", ["our film was long. " * 8, "我们昨天在北京的饭店吃饭他说这个电影很好看" * 3])
@pytest.mark.parametrize("spaces", [True, False])
def test_a_seventh_is_hidden_where_a_tokenizer_calls_a_sentence_a_word(text: str, spaces: bool) -> None:
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace() if spaces else pre_tokenizers.Split("\n", "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=80, show_progress=False, special_tokens=[SPECIAL[1], MASK], max_token_length=3
    )
    tokenizer.train_from_iterator([text], trainer)
    by = encoder(tokenizer)

    (piece,) = hide(text, by=by)

    assert 0.05 < len(hidden(piece).places) / len(by.encode(text)) < 0.4


def test_each_slice_of_a_long_text_hides_words_of_its_own() -> None:
    by, text = encoder(max_length=12), " ".join(random.Random(0).choices((*WORDS, *LONGER), k=60))
    slices = windows([text], by)

    pieces = masked(slices, by)

    assert len(pieces) > 5
    assert [(one.row, one.start) for one in pieces] == [(one.row, one.start) for one in slices]
    for piece, one in zip(pieces, slices, strict=True):
        assert piece.input == one.input
        assert MASK in read(piece, by)
