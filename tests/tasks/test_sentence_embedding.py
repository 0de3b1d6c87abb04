"""Vectors of texts: rows of two kinds, vectors to cosines, cosines to scores."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from kd_deploy.data.table import Table
from kd_deploy.distill.scratch import train_wordpiece
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import sentence_embedding as embedding
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.task import Examples, LabelSpace, Piece, Reading, Task

TASK: Task = embedding
LABELS = LabelSpace(task="sentence-embedding", names=(), problem_type="regression")
EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
ONE_HALF = (0.5, math.sqrt(0.75))  # the cosine with EAST


def table(**columns: Sequence[object]) -> Table:
    count = len(next(iter(columns.values())))
    columns = {"text": [f"text {row}" for row in range(count)]} | columns
    places = range(2, count + 2)  # a header stands on line 1
    return Table(source="rows.csv", columns=columns, places=places, unit="line", sha256="0" * 64)


def read(rows: Table) -> Examples:
    return embedding.read_examples(rows, embedding.find_labels(rows))


def texts() -> Examples:
    return read(table(text=["a", "b", "c"]))


def pairs() -> Examples:
    return read(table(text=["a", "b", "c"], text_pair=["d", "e", "f"], score=[5, 1.5, "0"]))


def encoder() -> Encoder:
    return Encoder(tokenizer=train_wordpiece(["a b c d e f"], vocabulary=40), max_length=8, pad_id=0)


def readings(inputs: Sequence[TextInput], *vectors: tuple[float, ...]) -> list[list[Reading]]:
    found: list[list[Reading]] = [[] for _ in inputs]
    for piece, vector in zip(embedding.pieces(inputs, encoder()), vectors, strict=True):
        found[piece.row].append(Reading(piece, Encoded([1], [0]), np.array(vector, dtype=np.float32)))
    return found


def test_plain_texts_have_no_targets() -> None:
    examples = texts()

    assert examples.labels == LABELS
    assert (examples.inputs, examples.targets) == (("a", "b", "c"), (None, None, None))
    assert not examples.answered
    assert embedding.main_metric(examples) == "cosine"
    told = examples.answered_by(((1.0, 0.0), (0.0, 1.0), (0.6, 0.8)))
    assert embedding.references(told) == ((1.0, 0.0), (0.0, 1.0), (0.6, 0.8))
    assert embedding.main_metric(told) == "cosine"


def test_pairs_have_scores() -> None:
    examples = pairs()

    assert examples.labels == LABELS
    assert examples.inputs == (("a", "d"), ("b", "e"), ("c", "f"))
    assert examples.targets == embedding.references(examples) == (5.0, 1.5, 0.0)
    assert embedding.main_metric(examples) == "spearman"


def test_inputs_are_single_texts() -> None:
    assert embedding.read_inputs(table(text=["a", "b"], text_pair=["c", None])) == ("a", "b")


FAULTS: dict[str, tuple[dict[str, Sequence[object]], str]] = {
    "pairs without scores": ({"text_pair": ["a"]}, "rows.csv has the column text_pair and no column score"),
    "scores without pairs": ({"score": [1.0]}, "rows.csv has the column score and no column text_pair"),
    "a score that is a word": ({"text_pair": ["a", "b"], "score": [1, "high"]}, "line 3: score is 'high', not"),
    "a null score": ({"text_pair": ["a", "b"], "score": [1, None]}, "line 3: score is None, not"),
    "a pair with one text": ({"text_pair": ["a", None], "score": [1, 2]}, "line 3: text_pair is null"),
    "an empty second text": ({"text_pair": ["", "b"], "score": [1, 2]}, "line 2: text_pair is empty"),
    "an empty first text": ({"text": [" "], "text_pair": ["b"], "score": [1]}, "line 2: text is empty"),
    "an empty text": ({"text": ["a", "\n"]}, "line 3: text is empty"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_bad_row_is_named_with_its_line(fault: str) -> None:
    columns, message = FAULTS[fault]

    with pytest.raises(DataError, match=message) as caught:
        read(table(**columns))
    assert caught.value.hint


def test_the_texts_of_a_pair_are_read_one_by_one() -> None:
    found = embedding.pieces([("a", "b"), "c", ("d", "e")], encoder())

    assert found == [Piece(0, "a"), Piece(0, "b"), Piece(1, "c"), Piece(2, "d"), Piece(2, "e")]


@pytest.mark.parametrize("examples", [texts(), pairs()])
def test_nobody_says_what_a_vector_is_to_be(examples: Examples) -> None:
    pieces = embedding.pieces((*examples.inputs, "more"), encoder())

    aims = embedding.aims(examples, pieces, encoder().encode_all([one.input for one in pieces]), encoder=encoder())

    assert (np.stack(aims).shape, np.stack(aims).dtype) == ((len(pieces),), np.float32)
    assert np.isnan(np.stack(aims)).all()


def test_a_text_is_judged_by_its_vector() -> None:
    examples = texts()

    found = embedding.predictions(readings(examples.inputs, EAST, NORTH, WEST), examples)

    assert found == (EAST, NORTH, WEST)
    assert {type(number) for vector in found if isinstance(vector, tuple) for number in vector} == {float}


def test_a_pair_is_judged_by_its_cosine() -> None:
    examples = pairs()

    found = embedding.predictions(readings(examples.inputs, EAST, ONE_HALF, EAST, WEST, NORTH, NORTH), examples)

    assert found == pytest.approx((0.5, -1.0, 1.0))
    assert {type(one) for one in found} == {float}


def test_a_cosine_is_one_of_vectors_of_any_length() -> None:
    examples = pairs()

    found = embedding.predictions(readings(examples.inputs, (2, 0), (3, 0), (0, 0), EAST, (1, 1), EAST), examples)

    assert found == pytest.approx((1.0, 0.0, math.sqrt(0.5)))


def test_pairs_are_scored_by_the_order_of_their_cosines() -> None:
    statistics = embedding.statistics((0.9, 0.8, -1.0), embedding.references(pairs()), LABELS)

    np.testing.assert_array_equal(statistics, [[0.9, 5], [0.8, 1.5], [-1, 0]])
    assert embedding.metrics(statistics)["spearman"] == pytest.approx(1)
    assert set(embedding.metrics(statistics)) == {"spearman", "pearson"}


def test_texts_are_scored_by_the_mean_cosine_with_the_reference() -> None:
    statistics = embedding.statistics((EAST, EAST, EAST), (EAST, ONE_HALF, WEST), LABELS)

    assert statistics.shape == (3, 1)
    assert embedding.metrics(statistics) == pytest.approx({"cosine": 0.5 / 3})
    assert embedding.metrics(statistics, np.array([2, 1, 0])) == pytest.approx({"cosine": 2.5 / 3})


def test_a_vector_needs_one_of_its_width_beside_it() -> None:
    with pytest.raises(DataError, match="vectors of 2 numbers cannot be compared with vectors of 3"):
        embedding.agreement((EAST,), ((1.0, 0.0, 0.0),))
    with pytest.raises(DataError, match="vectors of 2 numbers cannot be compared with vectors of 0"):
        embedding.statistics((EAST,), ((),), LABELS)


def test_models_agree_where_their_vectors_point_alike() -> None:
    assert embedding.agreement((EAST, EAST), (EAST, ONE_HALF)) == pytest.approx(0.75)
    assert embedding.agreement((ONE_HALF, (0.0, 0.0)), (ONE_HALF, (0.0, 0.0))) == 1


def test_models_agree_where_they_order_pairs_alike() -> None:
    assert embedding.agreement((0.1, 0.5, 0.4), (0.2, 0.9, 0.8)) == pytest.approx(1)
    assert embedding.agreement((0.1, 0.1), (0.1, 0.1)) == 1


def test_an_answer_is_a_vector_of_six_decimals() -> None:
    first, second = embedding.answers(readings(["a", "b"], (1 / 3, -2 / 3), NORTH), LABELS)

    np.testing.assert_array_equal(second.vector, np.array(NORTH, dtype=np.float32))
    assert embedding.to_json(first, LABELS) == {"embedding": [0.333333, -0.666667]}


def test_a_pair_has_no_one_vector() -> None:
    with pytest.raises(UsageError, match=r"takes single texts, not a pair such as \['a', 'b'\]"):
        embedding.answers(readings([("a", "b")], EAST, WEST), LABELS)


def test_the_sample_is_single_texts() -> None:
    assert [one.input for one in embedding.pieces(TASK.SAMPLE, encoder())] == list(TASK.SAMPLE)
