"""Words of a text hidden behind mask tokens, always the same ones of the same text."""

import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from tokenizers import Tokenizer

from kd_deploy.errors import BundleError
from kd_deploy.tasks.encoding import Encoded, Encoder, utf8
from kd_deploy.tasks.task import UNKNOWN, Hidden, Piece

MASKS = ("[MASK]", "<mask>")  # what tokenizers call it
SHARE = 0.15  # of the words, as Devlin et al. 2019, arXiv 1810.04805


def mask_of(tokenizer: Tokenizer) -> str:
    """The mask token of a tokenizer.

    Raises:
        BundleError: It has none.
    """
    found = next((one for one in MASKS if tokenizer.token_to_id(one) is not None), None)
    if found is None:
        raise BundleError(
            f"the tokenizer has no mask token: neither {' nor '.join(MASKS)} is in its vocabulary",
            hint="use the tokenizer of a masked language model",
        )
    return found


def mask_id_of(tokenizer: Tokenizer) -> int:
    """The number of the mask token of a tokenizer.

    Raises:
        BundleError: It has none.
    """
    return int(tokenizer.token_to_id(mask_of(tokenizer)) or 0)


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that stand for no text."""
    return frozenset(number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def masked(pieces: Sequence[Piece], encoder: Encoder) -> list[Piece]:
    """The pieces with some words hidden; where the mask token stands in a text already, that is what is hidden.

    A word becomes as many mask tokens as it has tokens. Where a tokenizer then reads the rest of the text otherwise
    than before, nothing of that text is hidden.

    Raises:
        BundleError: The tokenizer has no mask token.
    """
    mask, special = mask_of(encoder.tokenizer), special_ids(encoder.tokenizer)
    encoded = encoder.encode_all([one.input for one in pieces], places=True)
    given = {one.row for one in pieces if mask in str(one.input)}  # of a long text, its other slices too
    drawn = [
        _given(piece, one, encoder.tokenizer, mask=mask)
        if piece.row in given
        else _drawn(piece, one, encoder.tokenizer, mask=mask, special=special)
        for piece, one in zip(pieces, encoded, strict=True)
    ]
    again = encoder.encode_all([one.input for one in drawn])
    mask_id = mask_id_of(encoder.tokenizer)
    return [
        made if _as_meant(one, before, made, mask_id=mask_id) else replace(piece, hidden=None)
        for piece, made, before, one in zip(pieces, drawn, encoded, again, strict=True)
    ]


def _given(piece: Piece, encoded: Encoded, tokenizer: Tokenizer, *, mask: str) -> Piece:
    mask_id = tokenizer.token_to_id(mask)
    places = tuple(place for place, one in enumerate(encoded.ids) if one == mask_id)
    return replace(piece, hidden=Hidden(places, (UNKNOWN,) * len(places), tokenizer))


def _drawn(piece: Piece, encoded: Encoded, tokenizer: Tokenizer, *, mask: str, special: frozenset[int]) -> Piece:
    text = str(piece.input)
    words = [word for word in _words(encoded) if special.isdisjoint(encoded.ids[k] for k in word)]
    if not words:
        return piece
    rng = random.Random(zlib.crc32(utf8(text).encode()))  # noqa: S311 - a draw, not a secret
    chosen = sorted(rng.sample(range(len(words)), max(1, round(SHARE * len(words)))))
    assert encoded.places is not None  # noqa: S101 - asked for
    characters, parts, last = encoded.places.characters, [], 0
    for word in chosen:
        tokens = words[word]
        begin, end = characters[tokens[0]][0], characters[tokens[-1]][1]
        parts += [text[last:begin], " ".join([mask] * len(tokens))]
        last = end
    places = tuple(token for word in chosen for token in words[word])
    hidden = Hidden(places, tuple(encoded.ids[place] for place in places), tokenizer)
    return replace(piece, input="".join([*parts, text[last:]]), hidden=hidden)


def _words(encoded: Encoded) -> list[list[int]]:
    """The tokens of each word, special tokens aside."""
    assert encoded.places is not None  # noqa: S101 - asked for
    numbers = encoded.places.words
    tokens = [place for place, word in enumerate(numbers) if word is not None]
    return [list(group) for _, group in groupby(tokens, key=lambda place: numbers[place])]


def _as_meant(found: Encoded, before: Encoded, piece: Piece, *, mask_id: int) -> bool:
    if piece.hidden is None:
        return False
    expected = list(before.ids)
    for place in piece.hidden.places:
        expected[place] = mask_id
    return found.ids == expected
