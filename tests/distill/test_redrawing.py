"""Other tokens hidden each time that a text is learned from."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill.redrawing import Redraw
from kd_deploy.distill.rows import Rows, TrainingData
from kd_deploy.errors import BundleError
from kd_deploy.tasks.encoding import Encoded
from kd_deploy.tasks.masking import masked
from kd_deploy.tasks.pieces import whole
from kd_deploy.tasks.task import NO_DECISION, UNKNOWN, LabelSpace
from tests import tiny
from tests.tasks.test_masking import MASK, SPECIAL, WORDS, encoder, id_of, word_piece

LABELS = LabelSpace(task="fill-mask", names=(), problem_type="single_label_classification")
TOKENIZER = word_piece()
UNK, CLS, SEP, HIDE = (id_of(one) for one in (*SPECIAL[1:], MASK))
FIRST = id_of(WORDS[0])


def text(*words: int) -> tuple[Encoded, NDArray[np.int64]]:
    """These tokens between the ends, none of them hidden."""
    ids = [CLS, *words, SEP]
    return Encoded(ids, [0] * len(ids)), np.full(len(ids), NO_DECISION, dtype=np.int64)


LONG = text(*(FIRST + place % len(WORDS) for place in range(400)))  # 60 of them are hidden at a time


class Drawing:
    """Draws of one text, epoch after epoch."""

    def __init__(self, seed: int = 0) -> None:
        self._redraw, self._epoch = Redraw(TOKENIZER, seed=seed), -1

    def __call__(self, encoded: Encoded, aims: NDArray[np.int64]) -> tuple[Encoded, NDArray[np.int64]]:
        self._epoch += 1
        return self._redraw(encoded, aims, row=7, epoch=self._epoch)


def restored(encoded: Encoded, aims: NDArray[np.int64]) -> list[int]:
    return [int(one) for one in np.where(aims >= 0, aims, encoded.ids)]


def test_special_tokens_are_never_hidden() -> None:
    redraw = Drawing()
    encoded, aims = text(FIRST, UNK, FIRST + 1, UNK, HIDE)

    drawn = [redraw(encoded, aims) for _ in range(200)]

    assert {place for _, again in drawn for place in np.flatnonzero(again != NO_DECISION)} == {1, 3}
    assert all(
        one.ids[place] == encoded.ids[place] for one, _ in drawn for place in range(len(encoded)) if place not in (1, 3)
    )


def test_of_ten_hidden_tokens_eight_are_masked_one_is_swapped_and_one_stays() -> None:
    redraw = Drawing()
    shown, wanted = [], []
    for _ in range(100):
        encoded, aims = redraw(*LONG)
        chosen = np.flatnonzero(aims >= 0)
        assert len(chosen) == 60
        shown += [encoded.ids[place] for place in chosen]
        wanted += aims[chosen].tolist()

    pairs = list(zip(shown, wanted, strict=True))
    by_chance = 0.1 / TOKENIZER.get_vocab_size()  # a swap for the same token, or for the mask
    assert sum(one == HIDE for one in shown) / len(pairs) == pytest.approx(0.8 + by_chance, abs=0.02)
    assert sum(one == other for one, other in pairs) / len(pairs) == pytest.approx(0.1 + by_chance, abs=0.02)
    swaps = {one for one, other in pairs if one not in (HIDE, other)}
    assert len(swaps) > TOKENIZER.get_vocab_size() / 2


def test_aims_are_what_stood_there() -> None:
    redraw = Drawing()

    for _ in range(50):
        encoded, aims = redraw(*LONG)

        assert restored(encoded, aims) == LONG[0].ids
        assert set(aims[aims < 0]) == {NO_DECISION}
        assert encoded.type_ids == LONG[0].type_ids


def test_what_was_hidden_before_stands_there_again() -> None:
    by, redraw = encoder(), Drawing()
    piece = masked(whole([" ".join(WORDS)]), by)[0]
    assert piece.hidden is not None
    before, original = by.encode(piece.input), by.encode(" ".join(WORDS)).ids
    aims = np.full(len(before), NO_DECISION, dtype=np.int64)
    aims[list(piece.hidden.places)] = piece.hidden.ids

    drawn = [redraw(before, aims) for _ in range(50)]

    assert all(restored(one, again) == original for one, again in drawn)
    assert any(one.ids[place] == original[place] for one, _ in drawn for place in piece.hidden.places)


def test_what_the_user_hid_stays_hidden_and_is_no_aim() -> None:
    redraw = Drawing()
    encoded, aims = text(FIRST, HIDE, FIRST + 2)
    aims[2] = UNKNOWN

    for _ in range(50):
        again, found = redraw(encoded, aims)

        assert again.ids[2] == HIDE
        assert found[2] == NO_DECISION


@pytest.mark.parametrize(("tokens", "expected"), [(1, 1), (9, 1), (10, 2), (20, 3)])
def test_a_seventh_is_hidden_and_at_least_one(tokens: int, expected: int) -> None:
    _, aims = Drawing()(*text(*[FIRST] * tokens))

    assert (aims != NO_DECISION).sum() == expected


@pytest.mark.parametrize("tokens", [(), (UNK, UNK), (HIDE,)])
def test_where_nothing_can_be_hidden_the_text_stays(tokens: tuple[int, ...]) -> None:
    encoded, aims = text(*tokens)

    again, found = Drawing()(encoded, aims)

    assert again.ids == encoded.ids
    assert set(found.tolist()) == {NO_DECISION}


def test_the_seed_says_what_is_drawn() -> None:
    first, again, other = (Drawing(seed) for seed in (3, 3, 4))

    drawn = [[redraw(*LONG)[0].ids for _ in range(3)] for redraw in (first, again, other)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(BundleError, match="no mask token"):
        Redraw(word_piece("[NONE]"), seed=0)


def _epoch_of(rows: Rows, epoch: int) -> list[dict[str, Any]]:
    rows.epoch = epoch
    return [rows[place] for place in range(len(rows))]


def test_a_row_is_drawn_anew_in_each_epoch_however_it_is_come_to() -> None:
    texts = [" ".join(WORDS[start:]) for start in range(5)]
    examples = tiny.examples(texts, [()] * len(texts), LABELS)
    data = TrainingData(examples=examples, encoder=encoder())

    rows, same = Rows(data, seed=0), Rows(data, seed=0)

    drawn = [_epoch_of(rows, epoch) for epoch in range(4)]
    for epoch in drawn:
        for row, one in zip(epoch, data.encoder.encode_all(texts), strict=True):
            assert restored(row["encoded"], row["target"]) == one.ids
    assert len({tuple(epoch[0]["target"]) for epoch in drawn}) > 1
    taken_up = [tuple(row["target"]) for row in _epoch_of(same, 2)]
    assert taken_up == [tuple(row["target"]) for row in drawn[2]]
