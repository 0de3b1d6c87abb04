"""Sources and targets: rows to texts, targets to tokens, what was written to scores."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import text2text
from kd_deploy.tasks.encoding import Encoder, Marks
from kd_deploy.tasks.task import Examples, LabelSpace, Piece, Reading, Task
from kd_deploy.tasks.writing import Written
from tests.tasks.test_masking import id_of, word_piece

TASK: Task = text2text
LABELS = LabelSpace(task="text2text", names=(), problem_type="single_label_classification")
CLS, SEP, PAD = id_of("[CLS]"), id_of("[SEP]"), id_of("[PAD]")
BA, BE, BI = id_of("ba"), id_of("be"), id_of("bi")
MARKS = Marks(starts=(CLS,), ends=(SEP,))


def table(**columns: Sequence[object]) -> Table:
    places = range(2, len(next(iter(columns.values()))) + 2)  # a header stands on line 1
    return Table(source="rows.csv", columns=columns, places=places, unit="line", sha256="0" * 64)


def examples(*targets: object) -> Examples:
    rows = table(source=[f"source {row}" for row in range(len(targets))], target=targets)
    return text2text.read_examples(rows, text2text.find_labels(rows))


def encoder(*, max_length: int = 8, marks: Marks = MARKS) -> Encoder:
    tokenizer = word_piece()
    tokenizer.enable_truncation(max_length)
    return Encoder(tokenizer=tokenizer, max_length=max_length, pad_id=PAD, marks=marks)


def without_marks(*, marks: Marks) -> Encoder:
    """A tokenizer that puts nothing around a text."""
    chosen = encoder(max_length=4, marks=marks)
    chosen.tokenizer.post_processor = None
    return chosen


def aims(given: Examples, chosen: Encoder, *, further: int = 0) -> list[list[int]]:
    pieces = [Piece(row, "ba") for row in range(len(given) + further)]
    found = text2text.aims(given, pieces, chosen.encode_all([str(one.input) for one in pieces]), encoder=chosen)
    assert {one.dtype for one in found} == {np.dtype(np.int64)}
    return [one.tolist() for one in found]


def readings(*texts: str) -> list[list[Reading]]:
    nothing, encoded = np.zeros((1, 0), np.float32), encoder().encode("ba")
    written = [Written(text=one, tokens=(BA, BE), ended=one != "cut", log_probability=-1.0) for one in texts]
    return [[Reading(Piece(row, "ba"), encoded, nothing, one)] for row, one in enumerate(written)]


def test_rows_are_sources_and_targets() -> None:
    rows = table(source=["eins", "zwei"], target=["one", "two"])

    found = text2text.read_examples(rows, text2text.find_labels(rows, teacher=("x",)))

    assert found.labels == LABELS
    assert found.inputs == text2text.read_inputs(rows) == ("eins", "zwei")
    assert found.targets == text2text.references(found) == ("one", "two")
    assert found.answered
    assert (found.source, found.sha256) == (rows.source, rows.sha256)


@pytest.mark.parametrize(
    ("given", "said"), [(None, "is null"), (" \n", "is empty"), (7, "is int"), (math.nan, "float")]
)
@pytest.mark.parametrize("column", ["source", "target"])
def test_a_row_without_source_or_target_is_named_with_its_line(column: str, given: object, said: str) -> None:
    rows = table(**({"source": ["a", "b"], "target": ["c", "d"]} | {column: ["x", given]}))

    with pytest.raises(DataError, match=rf"rows\.csv line 3: {column} .*{said}"):
        text2text.read_examples(rows, LABELS)


def test_sources_are_read_whole() -> None:
    assert text2text.pieces(["ba be", "bi " * 90], encoder()) == [Piece(0, "ba be"), Piece(1, "bi " * 90)]


def test_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="text2text takes single texts, not a pair such as 'ba'") as caught:
        text2text.pieces(["be", ("ba", "be")], encoder())

    assert caught.value.hint == "join the two"


def test_aims_are_the_tokens_to_write_and_the_end_mark() -> None:
    assert aims(examples("ba be", "bi"), encoder()) == [[BA, BE, SEP], [BI, SEP]]


def test_inputs_without_a_target_have_no_aim() -> None:
    assert aims(examples("ba"), encoder(), further=2) == [[BA, SEP], [-2], [-2]]


def test_aims_go_by_the_row_of_a_piece() -> None:
    chosen, given = encoder(), examples("ba", "be")
    pieces = [Piece(1, "x"), Piece(2, "x"), Piece(0, "x")]

    found = text2text.aims(given, pieces, chosen.encode_all(["x"] * 3), encoder=chosen)

    assert [one.tolist() for one in found] == [[BE, SEP], [-2], [BA, SEP]]


def test_a_start_mark_that_the_decoder_is_not_given_is_written() -> None:
    assert aims(examples("ba"), encoder(marks=Marks(starts=(SEP,), ends=(SEP,)))) == [[CLS, BA, SEP]]
    assert aims(examples("ba"), encoder(marks=Marks(starts=(SEP, CLS), ends=(SEP,)))) == [[-2, BA, SEP]]


def test_the_end_mark_is_added_where_the_tokenizer_puts_none() -> None:
    assert aims(examples("ba be"), without_marks(marks=Marks(starts=(PAD,), ends=(SEP, CLS)))) == [[BA, BE, SEP]]
    assert aims(examples("ba be"), without_marks(marks=Marks(starts=(PAD,)))) == [[BA, BE]]
    assert aims(examples("ba be"), without_marks(marks=Marks())) == [[BA, BE]]


def test_long_targets_are_cut_and_still_end() -> None:
    long = "ba be bi " * 9

    assert aims(examples(long), encoder(max_length=5)) == [[BA, BE, BI, SEP]]  # five with the start mark
    assert aims(examples(long), without_marks(marks=Marks(ends=(SEP,)))) == [[BA, BE, BI, SEP]]


def test_an_end_mark_within_a_target_is_no_end() -> None:
    assert aims(examples("ba [SEP] be"), encoder()) == [[BA, SEP, BE, SEP]]


def test_predictions_are_the_texts_that_were_written() -> None:
    assert text2text.predictions(readings("one", ""), examples("a", "b")) == ("one", "")


def test_answers_are_what_was_written() -> None:
    found = text2text.answers(readings("one", "cut"), LABELS)

    assert [text2text.to_json(one, LABELS) for one in found] == [
        {"text": "one", "tokens": 2, "ended": True},
        {"text": "cut", "tokens": 2, "ended": False},
    ]


def test_scores_are_those_of_all_rows_together() -> None:
    written, targets = ["a man walks", "two dogs run far away", ""], ["a man walks.", "two dogs run away", "no"]
    given = examples(*targets)
    predicted = text2text.predictions(readings(*written), given)

    found = text2text.statistics(predicted, text2text.references(given), LABELS)

    scores = text2text.metrics(found)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [targets]).score / 100)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [targets]).score / 100)
    assert scores["rouge_l"] == pytest.approx((1 + 8 / 9 + 0) / 3)
    assert text2text.metrics(found, np.ones(3, dtype=np.int64)) == scores
    assert text2text.main_metric(given) in scores


@pytest.mark.parametrize(
    ("targets", "metric"),
    [
        (("a man walks home", "two dogs run far away", "no"), "bleu"),
        (("drei vier", "a man walks home", "zwei"), "chrf"),
        (("我今天去了北京博物馆", "他也去了"), "chrf"),
    ],
)
def test_texts_too_short_for_its_n_grams_are_not_judged_by_bleu(targets: tuple[str, ...], metric: str) -> None:
    given = examples(*targets)
    found = text2text.metrics(text2text.statistics(targets, text2text.references(given), LABELS))

    assert text2text.main_metric(given) == metric
    assert found[metric] == 1


def test_what_is_written_as_wanted_scores_one() -> None:
    targets = examples("a man walks his dog", "two dogs run far away").targets

    found = text2text.metrics(text2text.statistics(targets, targets, LABELS))  # type: ignore[arg-type]

    assert found == pytest.approx({"bleu": 1.0, "chrf": 1.0, "rouge_l": 1.0})


def test_agreement_is_the_mean_likeness_of_rows() -> None:
    assert text2text.agreement(("a dog", "b", ""), ("a dog", "b", "")) == 1
    assert text2text.agreement(("a dog", "xyz"), ("a dog", "b")) == 0.5
    assert 0.5 < text2text.agreement(("a dog", "a cat runs"), ("a dog", "a cat ran")) < 1
    assert text2text.agreement((), ()) == 0
