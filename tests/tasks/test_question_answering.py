"""Rows to accepted answers, characters to tokens and back, logits of pieces to answers, answers to scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import question_answering as task
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.pieces import with_accents
from kd_deploy.tasks.question_answering import Answer
from kd_deploy.tasks.task import UNKNOWN, Accepted, Examples, LabelSpace, Piece, Reading, Task

CONTEXT = "Ada met Bo in Rome . Bo left Rome at ten"  # one token a word, but A-da, Ro-me
LABELS = LabelSpace(task="question-answering", names=("start", "end"), problem_type="single_label_classification")
Logits = Mapping[int, tuple[float, float]]


def encoder(max_length: int = 32) -> Encoder:
    words = ["[CLS]", "[SEP]", "[UNK]", "A", "##da", "met", "Bo", "in", "Ro", "##me", ".", "left", "at", "ten", "Who"]
    tokenizer = Tokenizer(models.WordPiece({word: id_ for id_, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.enable_truncation(max_length)
    return Encoder(tokenizer=tokenizer, max_length=max_length, pad_id=0)


def table(**columns: Sequence[object]) -> Table:
    count = len(next(iter(columns.values())))
    given = {"context": [CONTEXT] * count, "question": ["Who"] * count} | columns
    return Table(source="qa.jsonl", columns=given, places=range(1, count + 1), unit="line", sha256="0" * 64)


def read(**columns: Sequence[object]) -> Examples:
    rows = table(**columns)
    return task.read_examples(rows, task.find_labels(rows))


def target(value: object) -> object:
    return read(answers=[value]).targets[0]


def examples(*answers: tuple[str, int]) -> Examples:
    accepted = tuple(Accepted((text,), (start,)) if text else Accepted((), ()) for text, start in answers)
    inputs = (("Who", CONTEXT),) * len(accepted)
    return Examples(inputs=inputs, targets=accepted, labels=LABELS, source="qa.jsonl", sha256="0" * 64)


def aims(given: Examples, *, max_length: int = 32, further: int = 0) -> list[tuple[Piece, list[int]]]:
    chosen = encoder(max_length)
    pieces = task.pieces([*given.inputs, *[("Who", CONTEXT)] * further], chosen)
    encoded = chosen.encode_all([piece.input for piece in pieces], places=True)
    return [
        (piece, aim.tolist())
        for piece, aim in zip(pieces, task.aims(given, pieces, encoded, encoder=chosen), strict=True)
    ]


def readings(*shown: Logits, max_length: int = 32, context: str = CONTEXT) -> list[Reading]:
    """The pieces of one input, with the logits that are shown of some tokens, and low ones of the others."""
    chosen = encoder(max_length)
    pieces = task.pieces([("Who", context)], chosen)
    encoded = chosen.encode_all([piece.input for piece in pieces], places=True)
    found = []
    for piece, one, logits in zip(pieces, encoded, shown, strict=True):
        values = np.full((len(one), 2), -100, dtype=np.float32)
        for token, pair in logits.items():
            values[token] = pair
        found.append(Reading(piece, one, values))
    return found


def answer(*shown: Logits, max_length: int = 32, context: str = CONTEXT) -> Answer:
    return task.answers([readings(*shown, max_length=max_length, context=context)], LABELS)[0]


def score(prediction: str, *accepted: str) -> dict[str, float]:
    return task.metrics(task.statistics([prediction], [accepted], LABELS))


def test_the_module_is_a_task() -> None:
    module: Task = task

    assert (module.NAME, module.LEVEL, module.main_metric(LABELS)) == ("question-answering", "span", "f1")
    assert all(isinstance(one, tuple) for one in module.SAMPLE)


@pytest.mark.parametrize("teacher", [(), ("LABEL_0", "LABEL_1")])
def test_the_places_to_find_are_always_the_same(teacher: tuple[str, ...]) -> None:
    assert task.find_labels(table(answer=["Bo"]), teacher=teacher) == LABELS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"text": "Bo", "start": 21}, {"text": "Rome", "start": 14}], Accepted(("Bo", "Rome"), (21, 14))),
        ([{"text": "Bo", "answer_start": 21}], Accepted(("Bo",), (21,))),
        ([{"text": "Bo"}], Accepted(("Bo",), (8,))),
        (np.array([{"text": "Bo", "start": np.int64(21)}]), Accepted(("Bo",), (21,))),
        ({"text": ["Bo", "Rome"], "answer_start": [21, 29]}, Accepted(("Bo", "Rome"), (21, 29))),
        ({"text": np.array(["Bo"]), "answer_start": np.array([21])}, Accepted(("Bo",), (21,))),
        ({"text": [], "answer_start": []}, Accepted((), ())),
        ([], Accepted((), ())),
        ([{"text": "", "start": 0}], Accepted((), ())),
    ],
)
def test_answers_are_lists_in_either_form(value: object, expected: Accepted) -> None:
    assert target(value) == expected


def test_answers_are_plain_columns() -> None:
    found = read(answer=["Bo", "Bo", "Bo", "", " "], start=["21", "", None, "", 3])

    assert found.targets == (*(Accepted(("Bo",), (place,)) for place in (21, 8, 8)), *[Accepted((), ())] * 2)
    assert read(answer=["Rome"]).targets == (Accepted(("Rome",), (14,)),)


@pytest.mark.parametrize(
    ("context", "text", "start"),
    [
        ("In 1915 it cost 5 dollars.", "5", 16),
        ("Anna met Ann.", "Ann", 9),
        ("Ann's (Ann) Ann", "Ann", 0),
        ("他住在北京。", "北京", 3),  # no word by itself there
        ("It cost 1915.", "5", 11),
        ("Is it a+b?", "a+b", 6),
    ],
)
def test_an_answer_without_a_place_is_looked_for_as_a_word_first(context: str, text: str, start: int) -> None:
    rows = table(question=["Q?"], context=[context], answer=[text])

    assert task.read_examples(rows, LABELS).targets == (Accepted((text,), (start,)),)


def test_columns_with_gaps_are_read_as_pandas_writes_them() -> None:
    found = read(answer=["Bo", "Bo", None, math.nan], start=[21.0, "21.0", math.nan, None])

    assert found.targets == (*[Accepted(("Bo",), (21,))] * 2, *[Accepted((), ())] * 2)


def test_an_input_is_the_question_and_its_context() -> None:
    assert read(answer=["Bo"]).inputs == task.read_inputs(table(context=[CONTEXT])) == (("Who", CONTEXT),)


FAULTS: dict[str, tuple[dict[str, Sequence[object]], str]] = {
    "no answers": ({"context": [CONTEXT]}, r"qa\.jsonl has no column answers or answer"),
    "an empty context": ({"answer": ["Bo"], "context": [" "]}, "line 1: context is empty"),
    "a context that is null": ({"answer": ["Bo"], "context": [None]}, "line 1: context is null"),
    "an empty question": ({"answer": ["Bo"], "question": [""]}, "line 1: question is empty"),
    "a question that is a number": ({"answer": ["Bo"], "question": [3]}, "line 1: question is int, not a text"),
    "an answer that is nowhere": ({"answer": ["Bo", "Paris"]}, "line 2: the answer 'Paris' is nowhere in the context"),
    "another text there": (
        {"answers": [[{"text": "Bo", "start": 14}]]},
        "line 1: at character 14 of the context stands 'Ro', not 'Bo'",
    ),
    "the end of the context there": ({"answer": ["Bo"], "start": [400]}, "at character 400 of the context stands ''"),
    "a long text elsewhere": ({"answer": [CONTEXT], "start": [1]}, r"stands 'da met .*\.\.\..*', not 'Ada met"),
    "a start below zero": ({"answer": ["ten"], "start": [-3]}, "at character -3 of the context stands ''"),
    "a start that is a fraction": ({"answer": ["Bo"], "start": [8.5]}, "line 1: start is 8.5, not the number"),
    "a start that is a word": ({"answer": ["Bo"], "start": ["8th"]}, "line 1: start is '8th', not the number"),
    "a start that is true": ({"answer": ["Bo"], "start": [True]}, "line 1: start is True, not the number"),
    "an answer that is null": ({"answers": [[{"text": None}]]}, "line 1: the answer None is not a text"),
    "an answer that is a number": ({"answers": [[{"text": 3}]]}, "line 1: the answer 3 is not a text"),
    "answers that are null": ({"answers": [[], None]}, "line 2: answers is None, not a list of answers"),
    "answers that are a text": ({"answers": ["Bo"]}, "line 1: answers is 'Bo', not a list of answers"),
    "answers that are texts": ({"answers": [["Bo"]]}, r"line 1: answers is \['Bo'\], not a list of answers"),
    "one answer without a list": ({"answers": [{"text": "Bo", "answer_start": 8}]}, "line 1: answers is {"),
    "fewer starts than texts": ({"answers": [{"text": ["Bo"], "answer_start": []}]}, "line 1: answers is {"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_bad_row_is_named_with_its_line(fault: str) -> None:
    columns, message = FAULTS[fault]

    with pytest.raises(DataError, match=message) as caught:
        read(**columns)
    assert caught.value.hint


def test_one_text_is_no_question_with_a_context() -> None:
    with pytest.raises(UsageError, match="input 1 is one text") as caught:
        task.pieces([("Who", CONTEXT), "Who"], encoder())
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "start", "tokens"),
    [
        ("Ada", 0, [3, 4]),  # after [CLS] Who [SEP]
        ("met", 4, [5, 5]),
        ("Bo in Rome", 8, [6, 9]),
        ("ten", 37, [16, 16]),
        ("da met B", 1, [4, 6]),  # from the middle of a word to that of another
        ("da m", 1, [4, 5]),
        (" Bo ", 7, [6, 6]),
        ("", 0, [0, 0]),
    ],
)
def test_an_aim_is_the_first_and_last_token_of_an_answer(text: str, start: int, tokens: list[int]) -> None:
    assert aims(examples((text, start))) == [(Piece(0, ("Who", CONTEXT)), tokens)]


def test_the_first_of_several_answers_is_aimed_at() -> None:
    assert aims(read(answers=[[{"text": "Rome", "start": 29}, {"text": "Bo"}]]))[0][1] == [13, 14]


def test_a_word_of_the_question_is_no_answer() -> None:
    given = read(question=["Bo"], answer=["Bo"], start=[8])

    assert aims(given)[0][1] == [6, 6]


def test_pieces_without_the_answer_aim_at_the_first_token() -> None:
    found = aims(examples(("Rome at ten", 29), ("", 0)), max_length=12)  # to the dot, Rome to at, Rome to ten

    assert [(piece.row, piece.start) for piece, _ in found] == [(row, start) for row in (0, 1) for start in (0, 13, 28)]
    assert [aim for _, aim in found] == [[0, 0], [0, 0], [3, 6], [0, 0], [0, 0], [0, 0]]


def test_an_answer_that_two_pieces_hold_is_aimed_at_in_both() -> None:
    assert [aim for _, aim in aims(examples(("Rome", 14)), max_length=12)] == [[8, 9], [3, 4], [0, 0]]


def test_an_answer_that_a_piece_holds_in_part_is_not_there() -> None:
    assert [aim for _, aim in aims(examples(("in Rome .", 11)), max_length=12)] == [[7, 10], [0, 0], [0, 0]]


def test_inputs_without_answers_have_no_aim() -> None:
    assert [aim for _, aim in aims(examples(("Bo", 8)), further=2)] == [[6, 6], [UNKNOWN] * 2, [UNKNOWN] * 2]


def test_an_answer_is_cut_out_of_the_context() -> None:
    found = answer({0: (0.0, 0.0), 6: (4.0, 0.0), 9: (0.0, 3.0)})

    # Bo to Rome, Bo alone, Rome's last token alone, and none.
    total = math.exp(7) + math.exp(4) + math.exp(3) + 1
    assert (found.text, found.start, found.end) == ("Bo in Rome", 8, 18)
    assert found.score == pytest.approx(math.exp(7) / total)
    assert found.no_answer == pytest.approx(1 / total)


def test_the_space_before_a_word_is_no_part_of_an_answer() -> None:
    """Some tokenizers count it as a word's first character."""
    (reading,) = readings({0: (0.0, 0.0), 6: (4.0, 0.0), 9: (0.0, 3.0)})
    places = reading.encoded.places
    assert places is not None
    spaced = [(max(0, start - 1), end) for start, end in places.characters]
    moved = replace(reading, encoded=replace(reading.encoded, places=replace(places, characters=spaced)))

    (found,) = task.answers([[moved]], LABELS)

    assert (found.text, found.start, found.end) == ("Bo in Rome", 8, 18)


def test_marks_that_a_tokenizer_drops_are_part_of_an_answer() -> None:
    context = "Rene\u0301 lives in पुणे, ❤\ufe0f it."
    for word in ("Rene\u0301", "पुणे", "❤\ufe0f"):
        start = context.index(word)
        bare = start + len(word) - 1  # where the token of a tokenizer without accents ends

        assert with_accents(context, bare) == start + len(word)
    assert with_accents(context, 6) == 6


def test_no_answer_is_an_empty_text() -> None:
    found = answer({0: (3.0, 2.0), 6: (2.0, 1.0)})

    assert (found.text, found.start, found.end) == ("", 0, 0)
    assert found.no_answer == pytest.approx(math.exp(5) / (math.exp(5) + math.exp(3)))
    assert found.score == pytest.approx(math.exp(3) / (math.exp(5) + math.exp(3)))


def test_an_end_does_not_stand_before_its_start() -> None:
    found = answer({0: (0.0, 0.0), 9: (5.0, -100.0), 6: (-100.0, 5.0), 11: (2.0, 2.0)})

    assert found.text == "Rome . Bo"[2:]


def test_another_threshold_gives_the_best_text_or_takes_it_away() -> None:
    found, given = answer({0: (3.0, 2.0), 6: (2.0, 1.0)}), answer({0: (0.0, 0.0), 6: (2.0, 1.0)})

    assert found.text == ""
    assert found.at(0.95).text == found.best[0] != ""
    assert CONTEXT[slice(*found.best[1:])] == found.best[0]
    assert found.at(0.95).at(0.5) == found
    assert given.text == given.best[0]
    assert given.at(0.0).text == ""
    assert (found.at(0.95).score, found.at(0.95).no_answer) == (found.score, found.no_answer)


def test_tokens_of_the_question_and_special_ones_are_no_answer() -> None:
    assert answer({1: (9.0, 9.0), 2: (9.0, 9.0), 17: (9.0, 9.0), 6: (1.0, 1.0)}).text == "Bo"


@pytest.mark.parametrize(("last", "text"), [(32, " ".join(["met"] * 30)), (33, "Bo")])
def test_an_answer_has_at_most_thirty_tokens(last: int, text: str) -> None:
    context = " ".join(["met"] * 35 + ["Bo"])

    found = answer({3: (9.0, -100), last: (-100, 9.0), 38: (1.0, 1.0)}, max_length=64, context=context)

    assert found.text == text


def test_an_answer_begins_at_one_of_the_twenty_best_starts() -> None:
    context = " ".join(["met"] * 25 + ["Bo"])
    many: dict[int, tuple[float, float]] = dict.fromkeys(range(3, 23), (5.0, -100.0))

    # Bo's own start is the twenty-first.
    assert answer({**many, 28: (4.0, 5.0)}, max_length=64, context=context).text.startswith("met")
    assert answer({**many, 22: (-100, -100), 28: (4.0, 50.0)}, max_length=64, context=context).end == len(context)


def test_a_span_that_two_pieces_found_counts_once_with_its_larger_score() -> None:
    left: Logits = {0: (1.0, 1.0), 8: (2.0, -100), 9: (-100, 1.0)}
    right: Logits = {0: (0.0, 0.0), 3: (3.0, -100), 4: (-100, 2.0)}

    found = answer(left, right, {0: (5.0, 5.0)}, max_length=12)

    assert (found.text, found.start, found.end) == ("Rome", 14, 18)
    # None is the least of 1 + 1, 0 + 0 and 5 + 5.
    assert found.score == pytest.approx(math.exp(5) / (math.exp(5) + 1))
    assert found.score + found.no_answer == pytest.approx(1)


def test_the_characters_of_a_later_piece_are_those_of_the_context() -> None:
    none = {0: (0.0, 0.0)}

    found = answer(none, none, {**none, 3: (9.0, -100.0), 6: (-100.0, 9.0)}, max_length=12)

    assert (found.text, found.start, found.end) == ("Rome at ten", 29, 40)
    assert CONTEXT[found.start : found.end] == found.text


def test_a_context_without_tokens_has_no_answer() -> None:
    assert answer({1: (9.0, 9.0)}, context=" ") == Answer("", 0, 0, 0.0, 1.0)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_probabilities_of_extreme_logits_are_finite(size: float) -> None:
    found = answer({0: (0.0, 0.0), 6: (size, size)})

    assert (found.score, found.no_answer) == pytest.approx((1, 0) if size > 0 else (0, 1))


def test_what_is_aimed_at_is_what_is_answered() -> None:
    given = examples(("Bo in Rome", 8), ("Rome at ten", 29), ("", 0), ("Ada", 0))
    chosen = encoder(14)
    found: list[list[Reading]] = [[] for _ in given.inputs]
    pieces = task.pieces(given.inputs, chosen)
    encoded = chosen.encode_all([piece.input for piece in pieces], places=True)
    for piece, one, aim in zip(pieces, encoded, task.aims(given, pieces, encoded, encoder=chosen), strict=True):
        logits = 20 * (np.arange(len(one))[:, None] == aim).astype(np.float32)
        found[piece.row].append(Reading(piece, one, logits))

    predictions = task.predictions(found, given)

    assert predictions == ("Bo in Rome", "Rome at ten", "", "Ada")
    assert task.references(given) == (("Bo in Rome",), ("Rome at ten",), (), ("Ada",))
    assert task.metrics(task.statistics(predictions, task.references(given), LABELS)) == {"f1": 1, "exact_match": 1}


@pytest.mark.parametrize(
    ("prediction", "accepted", "f1", "exact"),
    [
        ("Bo", ("Bo",), 1, 1),
        ("the  Bo!", ("bo",), 1, 1),
        ("an apple", ("A apple.",), 1, 1),
        ("Theodore", ("odore",), 0, 0),
        ("in Rome", ("Rome",), 2 * 0.5 * 1 / 1.5, 0),
        ("in Rome", ("Paris", "Rome at ten", "Rome"), 2 / 3, 0),
        ("bo bo bo", ("bo bo",), 2 * 2 / 5, 0),
        ("Rome", ("Paris",), 0, 0),
        ("", ("Paris",), 0, 0),
        ("", (), 1, 1),
        ("the", (), 1, 1),
        ("Rome", (), 0, 0),
        ("东京都", ("东京",), 2 * 2 / 5, 0),
        ("在东京 2 日", ("东京2日",), 2 * 4 / 9, 0),
        ("とうきょう", ("とう",), 2 * 2 / 7, 0),
    ],
)
def test_scores_are_those_of_squad(prediction: str, accepted: tuple[str, ...], f1: float, exact: float) -> None:
    assert score(prediction, *accepted) == pytest.approx({"f1": f1, "exact_match": exact})


def test_scores_are_means_of_rows_as_often_as_they_are_drawn() -> None:
    found = task.statistics(["Bo", "in Rome"], [("Bo",), ("Rome",)], LABELS)

    assert found.tolist() == [[1, 1], [0, pytest.approx(2 / 3)]]
    assert task.metrics(found) == pytest.approx({"f1": (1 + 2 / 3) / 2, "exact_match": 0.5})
    assert task.metrics(found, np.array([0, 2])) == pytest.approx({"f1": 2 / 3, "exact_match": 0})


def test_two_models_agree_as_far_as_their_words_do() -> None:
    assert task.agreement(["Bo", "", "in Rome", ""], ["bo", "", "Rome", "Bo"]) == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)


def test_an_answer_is_a_json_line() -> None:
    found = task.to_json(Answer("Rome", 14, 18, 0.87654321, 1e-9), LABELS)

    assert found == {"answer": "Rome", "score": 0.876543, "start": 14, "end": 18, "no_answer": 0.0}
