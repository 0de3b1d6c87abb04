"""Words of a text hidden behind mask tokens, always the same ones of the same text."""

import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from tokenizers import Tokenizer

from kd_deploy.errors import BundleError
from kd_deploy.tasks.encoding import Encoded, Encoder, Places, utf8
from kd_deploy.tasks.task import UNKNOWN, Hidden, Piece
from kd_deploy.tasks.words import tokens_of

MASKS = ("[MASK]", "<mask>")  # what tokenizers call it
SHARE = 0.15  # of the words, as Devlin et al. 2019, arXiv 1810.04805


def mask_of(tokenizer: Tokenizer) -> str:
    """The mask token of a tokenizer.

    Raises:
        BundleError: It has none.
    """
    found = _found(tokenizer)
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


def find_mask_id(tokenizer: Tokenizer) -> int | None:
    """The number of the mask token of a tokenizer; None: it has none by a name that we know."""
    return None if _found(tokenizer) is None else mask_id_of(tokenizer)


def _found(tokenizer: Tokenizer) -> str | None:
    return next((one for one in MASKS if tokenizer.token_to_id(one) is not None), None)


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that stand for no text."""
    return frozenset(number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def masked(pieces: Sequence[Piece], encoder: Encoder) -> list[Piece]:
    """The pieces, and which tokens of each are hidden: those of some words.

    Where the mask token stands in a text already, that is what is hidden of it, and nothing else.

    Raises:
        BundleError: The tokenizer has no mask token.
    """
    mask, special = mask_of(encoder.tokenizer), special_ids(encoder.tokenizer)
    encoded = encoder.encode_all([one.input for one in pieces], places=True)
    given = {one.row for one in pieces if mask in str(one.input)}  # of a long text, its other slices too
    return [
        _given(piece, one, encoder.tokenizer, mask_id=mask_id_of(encoder.tokenizer))
        if piece.row in given
        else _drawn(piece, one, encoder.tokenizer, special=special)
        for piece, one in zip(pieces, encoded, strict=True)
    ]


def hiding(encoded: Encoded, hidden: Hidden) -> Encoded:
    """A piece as a model is to read it: the mask in the places of what is hidden."""
    ids, mask_id = list(encoded.ids), mask_id_of(hidden.tokenizer)
    for place in hidden.places:
        ids[place] = mask_id
    return replace(encoded, ids=ids)


def shown(piece: Piece, encoded: Encoded) -> str:
    """The text of a piece with a mask for each hidden token."""
    text, hidden = str(piece.input), piece.hidden
    if hidden is None or UNKNOWN in hidden.ids:  # the user's own masks stand there
        return text
    tokens, mask = tokens_of(text, cast("Places", encoded.places)), mask_of(hidden.tokenizer)
    parts: list[str] = []
    last = 0
    for place in np.flatnonzero(np.isin(tokens.rows, hidden.places)).tolist():
        begin, end = int(tokens.starts[place]), int(tokens.ends[place])
        parts += [text[last:begin] or " " * bool(parts), mask]
        last = max(last, end)
    return "".join([*parts, text[last:]])


def _given(piece: Piece, encoded: Encoded, tokenizer: Tokenizer, *, mask_id: int) -> Piece:
    places = tuple(place for place, one in enumerate(encoded.ids) if one == mask_id)
    return replace(piece, hidden=Hidden(places, (UNKNOWN,) * len(places), tokenizer)) if places else piece


def _drawn(piece: Piece, encoded: Encoded, tokenizer: Tokenizer, *, special: frozenset[int]) -> Piece:
    text = str(piece.input)
    tokens = tokens_of(text, cast("Places", encoded.places))
    of_words = np.split(tokens.rows, np.flatnonzero(tokens.begins)[1:])
    words = [word for word in of_words if len(word) and special.isdisjoint(encoded.ids[row] for row in word)]
    if not words:
        return piece
    rng = random.Random(zlib.crc32(utf8(text).encode()))  # noqa: S311 - a draw, not a secret
    chosen = sorted(rng.sample(range(len(words)), max(1, round(SHARE * len(words)))))
    places = tuple(int(row) for word in chosen for row in words[word])
    return replace(piece, hidden=Hidden(places, tuple(encoded.ids[place] for place in places), tokenizer))
