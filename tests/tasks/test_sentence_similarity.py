"""Pairs with scores: rows to numbers, logits to answers, answers to scores."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from kd_deploy.data.reading import read_table
from kd_deploy.data.table import Table
from kd_deploy.distill.scratch import train_wordpiece
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import sentence_similarity as similarity
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.task import Examples, LabelSpace, Piece, Reading, Task

TASK: Task = similarity
LABELS = LabelSpace(task="sentence-similarity", names=("score",), problem_type="regression")


def table(**columns: Sequence[object]) -> Table:
    count = len(next(iter(columns.values())))
    texts = {name: [f"{name} {row}" for row in range(count)] for name in ("text", "text_pair")}
    places = range(2, count + 2)  # a header stands on line 1
    return Table(source="rows.csv", columns=texts | columns, places=places, unit="line", sha256="0" * 64)


def read(rows: Table) -> Examples:
    return similarity.read_examples(rows, similarity.find_labels(rows))


def encoder(*texts: str) -> Encoder:
    return Encoder(tokenizer=train_wordpiece(texts, vocabulary=60), max_length=16, pad_id=0)


def readings(*scores: float) -> list[list[Reading]]:
    pieces = [Piece(row, ("a", "b")) for row in range(len(scores))]
    encoded = Encoded([1, 2], [0, 0])
    return [[Reading(piece, encoded, np.array([x], np.float32))] for piece, x in zip(pieces, scores, strict=True)]


def test_rows_are_pairs_and_numbers() -> None:
    rows = table(score=[5.0, 0, 3.8])

    examples = read(rows)

    assert examples.labels == LABELS
    assert examples.inputs == similarity.read_inputs(rows)
    assert examples.inputs[1] == ("text 1", "text_pair 1")
    assert examples.targets == (5.0, 0.0, 3.8)
    assert (examples.source, examples.sha256) == (rows.source, rows.sha256)


@pytest.mark.parametrize(
    "scores", [["1", " 2.5 ", "-3e0"], [np.float32(1), np.float64(2.5), np.int64(-3)], [Decimal(1), Decimal("2.5"), -3]]
)
def test_numbers_may_be_of_any_kind(scores: list[Any]) -> None:
    targets = read(table(score=scores)).targets

    assert targets == (1.0, 2.5, -3.0)
    assert {type(one) for one in targets} == {float}


def test_a_file_of_csv_is_read(tmp_path: Any) -> None:
    (tmp_path / "rows.csv").write_text("one,other,points\na,b,3.5\nc,d,0\n")
    columns = {"text": "one", "text_pair": "other", "score": "points"}

    rows = read_table(str(tmp_path / "rows.csv"), columns=columns, required=similarity.REQUIRED)

    assert (read(rows).inputs, read(rows).targets) == ((("a", "b"), ("c", "d")), (3.5, 0.0))


FAULTS: dict[str, tuple[dict[str, Sequence[object]], str]] = {
    "a null score": ({"score": [1, None]}, "line 3: score is None, not a finite number"),
    "an empty score": ({"score": [1, ""]}, "line 3: score is '', not a finite number"),
    "a score that is a word": ({"score": ["abc", 1]}, "line 2: score is 'abc', not"),
    "a score with a comma": ({"score": [1, "3,8"]}, "line 3: score is '3,8', not"),
    "a score that Python alone reads": ({"score": [1, "1_0"]}, "line 3: score is '1_0', not"),
    "a score that is NaN": ({"score": [1, math.nan]}, "line 3: score is nan, not"),
    "NaN in words": ({"score": [1, "nan"]}, "line 3: score is 'nan', not"),
    "an infinite score": ({"score": [1, -math.inf]}, "line 3: score is -inf, not"),
    "a score beyond float32": ({"score": [1, 1e39]}, "line 3: score is 1e\\+39, not"),
    "a whole number beyond all floats": ({"score": [1, 10**400]}, "line 3: score is 1000*, not"),
    "a truth": ({"score": [1, True]}, "line 3: score is True, not"),
    "a truth of numpy": ({"score": [1, np.True_]}, "line 3: score is np.True_, not"),
    "a list": ({"score": [1, [2.0]]}, r"line 3: score is \[2.0\], not"),
    "an empty text": ({"text": ["a", " "], "score": [1, 2]}, "line 3: text is empty"),
    "a null second text": ({"text_pair": ["a", None], "score": [1, 2]}, "line 3: text_pair is null"),
    "the same score everywhere": ({"score": [2.5, "2.5"]}, "rows.csv has a single score, 2.5"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_bad_row_is_named_with_its_line(fault: str) -> None:
    columns, message = FAULTS[fault]

    with pytest.raises(DataError, match=message) as caught:
        read(table(**columns))
    assert caught.value.hint


def test_rows_to_judge_by_may_have_one_score() -> None:
    assert similarity.read_examples(table(score=[3, 3]), LABELS).targets == (3.0, 3.0)


def test_a_teacher_has_one_output() -> None:
    rows = table(score=[1, 2])

    assert similarity.find_labels(rows, teacher=("LABEL_0",)) == LABELS
    with pytest.raises(DataError, match="teacher has 2 classes, and sentence-similarity is a single score"):
        similarity.find_labels(rows, teacher=("no", "yes"))


def test_a_pair_is_read_at_once() -> None:
    pairs: list[TextInput] = [("a cat", "a dog"), ("x", "y")]

    assert similarity.pieces(pairs, encoder("a cat a dog")) == [Piece(0, pairs[0]), Piece(1, pairs[1])]


def test_a_single_text_has_no_similarity() -> None:
    with pytest.raises(UsageError, match="takes pairs of texts, not 'a cat' alone"):
        similarity.pieces([("a", "b"), "a cat"], encoder("a cat"))


def test_pairs_beyond_the_examples_aim_at_nothing() -> None:
    examples, ours = read(table(score=[1.5, 2])), encoder("text 0", "text_pair 1")
    pieces = similarity.pieces((*examples.inputs, ("more", "text")), ours)

    aims = similarity.aims(examples, pieces, ours.encode_all([one.input for one in pieces]), encoder=ours)

    assert np.stack(aims).dtype == np.float32
    np.testing.assert_array_equal(np.stack(aims), [1.5, 2, math.nan])


def test_a_logit_is_the_score() -> None:
    examples = read(table(score=[1, 2]))

    found = similarity.predictions(readings(4.25, -1), examples)

    assert found == (4.25, -1.0)
    assert {type(one) for one in found} == {float}
    assert similarity.references(examples) == (1.0, 2.0)


def test_an_answer_is_a_number_of_six_decimals() -> None:
    answers = similarity.answers(readings(1 / 3, 2), LABELS)

    assert answers[1] == similarity.Similarity(2.0)
    assert similarity.to_json(answers[0], LABELS) == {"score": 0.333333}


def test_scores_are_correlations_with_the_references() -> None:
    statistics = similarity.statistics((0.5, 1.0, 3.0), (0.0, 3.0, 3.0), LABELS)

    np.testing.assert_array_equal(statistics, [[0.5, 0], [1, 3], [3, 3]])
    # deviations -1 -0.5 1.5 and -2 1 1; of the ranks -1 0 1 and -1 0.5 0.5
    found = {"spearman": 1.5 / math.sqrt(2 * 1.5), "pearson": 3 / math.sqrt(3.5 * 6)}
    assert similarity.metrics(statistics) == pytest.approx(found)
    assert similarity.main_metric(Examples(inputs=(), targets=(), labels=LABELS, source="", sha256="")) in found


def test_rows_that_are_drawn_again_count_again() -> None:
    rng = np.random.default_rng(0)
    drawn, rows = rng.integers(0, 50, 50), rng.normal(size=(50, 2))

    counted = similarity.metrics(rows, np.bincount(drawn, minlength=50))

    assert counted == pytest.approx(similarity.metrics(rows[drawn]))


def test_models_agree_where_they_order_alike() -> None:
    assert similarity.agreement((1.0, 2.0, 3.0), (10.0, 20.0, 90.0)) == pytest.approx(1)
    assert similarity.agreement((1.0, 2.0, 3.0), (3.0, 2.0, 1.0)) == pytest.approx(-1)
    assert similarity.agreement((2.0, 2.0), (2.0, 2.0)) == similarity.agreement((2.0,), (2.0,)) == 1
    assert similarity.agreement((2.0, 2.0), (1.0, 3.0)) == 0


def test_the_sample_is_pairs() -> None:
    assert len(similarity.pieces(TASK.SAMPLE, encoder("a"))) == len(TASK.SAMPLE) == 3
