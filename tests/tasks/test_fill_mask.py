"""Texts to gaps, logits to the tokens that fill them, and what these are worth."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import fill_mask as task
from kd_deploy.tasks.encoding import Encoded
from kd_deploy.tasks.task import NO_DECISION, UNKNOWN, Examples, Hidden, LabelSpace, Piece, Prediction, Reading
from tests.tasks.test_masking import encoder, id_of, word_piece

LABELS = LabelSpace(task="fill-mask", names=(), problem_type="single_label_classification")
TOKENIZER = word_piece()
ENTRIES = TOKENIZER.get_vocab_size()
BA, BE, BI, LATER = (id_of(one) for one in ("ba", "be", "bi", "##be"))


def table(*given: object) -> Table:
    places = range(2, len(given) + 2)  # a header stands on line 1
    return Table(source="rows.csv", columns={"text": given}, places=places, unit="line", sha256="0" * 64)


def examples(*given: object) -> Examples:
    return task.read_examples(table(*given), LABELS)


def reading(ids: Sequence[int], logits: NDArray[np.float32], *, text: str = "ba [MASK]") -> Reading:
    """What a model showed of a text of which these are hidden; logits [n, V]."""
    piece = Piece(0, text, 0, Hidden(tuple(range(1, len(ids) + 1)), tuple(ids), TOKENIZER))
    encoded = encoder().encode_all([text], places=True)[0]
    return shown(piece, encoded, np.pad(logits, ((1, 0), (0, 0))))


def shown(piece: Piece, encoded: Encoded, logits: NDArray[np.float32]) -> Reading:
    """What is kept of what a model showed; logits [S, V]."""
    return Reading(piece, encoded, task.shortened(piece, encoded, logits, False))


def rows(*given: dict[int, float], entries: int = ENTRIES) -> NDArray[np.float32]:
    """Logits that are zero but where they are given, [n, V]."""
    out = np.zeros((len(given), entries), dtype=np.float32)
    for row, values in enumerate(given):
        for token, value in values.items():
            out[row, token] = value
    return out


def predicted(*readings: Sequence[Reading]) -> list[tuple[float, ...]]:
    found = task.predictions(readings, examples(*(f"text {row}" for row in range(len(readings)))))
    return [cast("tuple[float, ...]", one) for one in found]


def scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    return task.metrics(task.statistics(predictions, (), LABELS))


def test_equal_texts_count_once_in_the_order_of_the_rows() -> None:
    found = examples("ba be", "bi", "ba be", "be", "bi")

    assert found.inputs == ("ba be", "bi", "be")
    assert found.targets == ((), (), ())
    assert found.answered
    assert task.references(found) == ((), (), ())


@pytest.mark.parametrize(("given", "said"), [(None, "text is null"), ("  ", "text is empty"), (7, "text is int")])
def test_a_row_without_a_text_is_named_with_its_line(given: object, said: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.csv line 4: {said}"):
        examples("ba", "ba", given)


def test_inputs_alone_are_the_texts_of_the_table() -> None:
    assert task.read_inputs(table("ba be", "bi")) == ("ba be", "bi")


def test_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="fill-mask takes single texts, not a pair such as 'ba'") as caught:
        task.pieces(["be", ("ba", "be")], encoder())

    assert caught.value.hint == "join the two"


def test_aims_are_the_hidden_tokens_alone() -> None:
    by, none = encoder(), NO_DECISION
    given = examples("bebe", "ba [MASK] be")
    pieces = task.pieces(given.inputs, by)
    pieces = [*pieces, Piece(2, "ba")]

    found = task.aims(given, pieces, by.encode_all([str(one.input) for one in pieces]), encoder=by)

    assert [one.tolist() for one in found] == [
        [none, BE, LATER, none],
        [none, none, UNKNOWN, none, none],
        [none, none, none],
    ]
    assert {one.dtype for one in found} == {np.dtype(np.int64)}


def test_predictions_hold_the_surprise_and_then_each_token_said_and_hidden() -> None:
    logits = rows({BA: 2.0}, {BE: 1.0, BI: 3.0})
    right = math.log(math.e**2 / (math.e**2 + ENTRIES - 1))
    wrong = math.log(math.e / (math.e + math.e**3 + ENTRIES - 2))

    (found,) = predicted([reading([BA, BE], logits)])

    assert found == pytest.approx((-right - wrong, BA, BA, BI, BE))


def test_pieces_of_a_text_are_one_prediction() -> None:
    first, second = reading([BA], rows({BA: 5.0})), reading([BE], rows({BE: 5.0}))
    nothing = shown(Piece(0, "bi"), encoder().encode("bi"), np.ones((3, ENTRIES), dtype=np.float32))

    (together,) = predicted([first, nothing, second])
    alone = predicted([first], [second], [nothing])

    assert together[0] == pytest.approx(alone[0][0] + alone[1][0])
    assert together[1:] == (*alone[0][1:], *alone[1][1:])
    assert alone[2] == (0.0,)


def test_what_the_user_hid_surprises_nobody() -> None:
    (found,) = predicted([reading([UNKNOWN], rows({BA: 2.0}))])

    assert found[0] == 0


def test_scores_of_given_predictions() -> None:
    given = [(2.0, BA, BA, BI, BE), (0.5, BE, BE), (0.0,), (0.0,)]

    assert task.statistics(given, (), LABELS).tolist() == [[1, 2, 2], [1, 1, 0.5], [0, 0, 0], [0, 0, 0]]
    assert scores(given) == pytest.approx({"masked_accuracy": 2 / 3, "pseudo_perplexity": math.exp(2.5 / 3)})
    assert task.main_metric(examples("ba")) == "masked_accuracy"


def test_rows_count_as_often_as_they_are_drawn() -> None:
    statistics = task.statistics([(2.0, BA, BA, BI, BE), (0.5, BE, BE)], (), LABELS)

    drawn = task.metrics(statistics, np.array([0, 3]))

    assert drawn == pytest.approx({"masked_accuracy": 1.0, "pseudo_perplexity": math.exp(0.5)})
    assert task.metrics(statistics, np.array([1, 1])) == task.metrics(statistics)


@pytest.mark.parametrize("entries", [2, 50, 30_000])
@pytest.mark.parametrize("level", [0.0, -700.0, 90.0])
def test_a_model_that_knows_nothing_wavers_between_all_entries(entries: int, level: float) -> None:
    logits = rows({}, {}, {}, entries=entries) + np.float32(level)

    found = scores(predicted([reading([1, 0, 1], logits)]))

    assert found["pseudo_perplexity"] == pytest.approx(entries)


def test_a_model_that_knows_all_is_not_surprised() -> None:
    found = scores(predicted([reading([BA, BE], rows({BA: 60.0}, {BE: 60.0}))]))

    assert found == pytest.approx({"masked_accuracy": 1.0, "pseudo_perplexity": 1.0})


def test_where_nothing_is_hidden_the_scores_are_still_numbers() -> None:
    assert all(math.isfinite(one) for one in scores([(0.0,)]).values())


def test_agreement_is_the_share_of_tokens_said_alike() -> None:
    left = [(1.0, BA, BE, BI, BI), (1.0, BE, BA), (1.0, BA, BA)]
    right = [(9.0, BA, BE, BE, BI), (9.0, BE, BA), (9.0, BA, BA, BA, BA)]  # of the last, another number is hidden

    assert task.agreement(left, right) == pytest.approx(2 / 3)
    assert task.agreement(left, left) == 1
    assert task.agreement([(0.0,)], [(0.0,)]) == 0


def test_fillings_come_best_first_with_their_probabilities() -> None:
    given = np.random.default_rng(0).normal(size=(2, ENTRIES)).astype(np.float32) * 3
    expected = np.exp(given.astype(np.float64)) / np.exp(given.astype(np.float64)).sum(axis=1, keepdims=True)

    (found,) = task.answers([[reading([UNKNOWN, UNKNOWN], given, text="ba [MASK] [MASK]")]], LABELS)

    assert found.text == "ba [MASK] [MASK]"
    assert len(found.places) == 2
    for place, shares in zip(found.places, expected, strict=True):
        assert len(place) == task.TOP
        assert [one.score for one in place] == pytest.approx(sorted(shares, reverse=True)[: task.TOP])
        assert [one.token for one in place] == [TOKENIZER.decode([int(one)]) for one in np.argsort(-shares)[: task.TOP]]


def test_a_small_vocabulary_gives_all_that_it_has() -> None:
    (found,) = task.answers([[reading([UNKNOWN], rows({1: 3.0, 2: 1.0}, entries=3))]], LABELS)

    assert len(found.places[0]) == 3
    assert sum(one.score for one in found.places[0]) == pytest.approx(1)


def test_an_answer_as_json_has_a_list_for_each_gap() -> None:
    logits = rows({BA: 20.0, BE: 19.0}, {BI: 20.0})
    (answer,) = task.answers([[reading([UNKNOWN, UNKNOWN], logits, text="[MASK] [MASK]")]], LABELS)

    found = task.to_json(answer, LABELS)

    assert found["text"] == "[MASK] [MASK]"
    assert [[one["token"] for one in place][:1] for place in found["fillings"]] == [["ba"], ["bi"]]  # type: ignore[attr-defined]
    assert found["fillings"][0][1] == {"token": "be", "score": pytest.approx(1 / (1 + math.e), abs=1e-5)}  # type: ignore[index]
    assert all(round(one["score"], 6) == one["score"] for place in found["fillings"] for one in place)  # type: ignore[attr-defined]


def test_a_text_without_gaps_has_no_fillings() -> None:
    nothing = shown(Piece(0, " "), encoder().encode(" "), np.ones((2, ENTRIES), dtype=np.float32))

    assert task.to_json(task.answers([[nothing]], LABELS)[0], LABELS) == {"text": " ", "fillings": []}


def test_the_vocabulary_is_all_that_can_be_said() -> None:
    assert task.find_labels(table("ba")) == LABELS


@pytest.mark.parametrize(
    "text", ["ba [MASK] " + "be bi " * 20, "\n\n ba [MASK] " + "be bi " * 9 + "[MASK] " + "be " * 9]
)
def test_a_long_text_with_a_gap_is_given_back_as_it_is(text: str) -> None:
    by = encoder(max_length=12)
    pieces = task.pieces([text], by)
    encoded = by.encode_all([str(one.input) for one in pieces], places=True)
    readings = [shown(*both, rows(*({BE: 8.0} for _ in both[1].ids))) for both in zip(pieces, encoded, strict=True)]

    (found,) = task.answers([readings], LABELS)

    assert len(pieces) > 2
    assert found.text.split() == text.split()
    assert found.text.rstrip().endswith(text.strip()[-30:])
    assert len(found.places) == text.count("[MASK]")


def test_no_more_is_kept_of_a_piece_than_how_its_gaps_are_filled() -> None:
    piece = Piece(0, "ba be", 0, Hidden((1, 2), (BA, UNKNOWN), TOKENIZER))
    logits = np.random.default_rng(0).normal(size=(4, ENTRIES)).astype(np.float32)
    log_p = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))

    found = task.shortened(piece, encoder().encode("ba be"), logits, False)

    best = np.argsort(-log_p[1:3], axis=1)[:, : task.TOP]
    assert found.shape == (2, 1 + 2 * task.TOP)
    assert found[:, 0] == pytest.approx([log_p[1, BA], 0.0], abs=1e-5)
    assert found[:, 1 : 1 + task.TOP].tolist() == best.tolist()
    assert found[:, 1 + task.TOP :] == pytest.approx(np.take_along_axis(log_p[1:3], best, axis=1), abs=1e-5)


def test_a_text_without_gaps_shows_which_of_its_words_were_hidden() -> None:
    by = encoder()
    (piece,) = task.pieces(["baba"], by)
    read = shown(piece, by.encode_all(["baba"], places=True)[0], rows(*({BE: 8.0} for _ in range(4))))

    (found,) = task.answers([[read]], LABELS)

    assert found.text == "[MASK] [MASK]"
    assert [place[0].token for place in found.places] == ["be", "be"]
