"""Plain texts: what comes next at each token, what logits make of it, and how a prompt goes on."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import text_generation
from kd_deploy.tasks.encoding import Encoded, Encoder, Marks
from kd_deploy.tasks.pieces import encode
from kd_deploy.tasks.task import NO_DECISION, Examples, LabelSpace, Piece, Prediction, Reading, Task
from kd_deploy.tasks.writing import Written
from tests.tasks.test_slices import KINDS, bare_word_piece, gpt, ids_of
from tests.tasks.test_windows import WORDS

TASK: Task = text_generation
LABELS = LabelSpace(task="text-generation", names=(), problem_type="single_label_classification")
END = 0
MARKS = Marks(ends=(END,))
LONG = " ".join(WORDS)


def table(*given: object) -> Table:
    places = range(2, len(given) + 2)  # a header stands on line 1
    return Table(source="rows.csv", columns={"text": given}, places=places, unit="line", sha256="0" * 64)


def examples(*given: object) -> Examples:
    return text_generation.read_examples(table(*given), LABELS)


def encoder(tokenizer: Tokenizer, *, max_length: int = 8, marks: Marks = MARKS) -> Encoder:
    tokenizer.enable_truncation(max_length)
    return Encoder(tokenizer=tokenizer, max_length=max_length, pad_id=0, padding_side="left", marks=marks)


def aims(given: Examples, chosen: Encoder) -> list[list[int]]:
    pieces = text_generation.pieces(given.inputs, chosen)
    encoded = encode(pieces, chosen, task=TASK)
    found = text_generation.aims(given, pieces, encoded, encoder=chosen)
    assert {one.dtype for one in found} == {np.dtype(np.int64)}
    assert [len(one) for one in found] == [len(one) for one in encoded]
    return [one.tolist() for one in found]


def readings(given: Examples, chosen: Encoder, *, seed: int = 0) -> list[list[Reading]]:
    """What a model of random logits shows."""
    rng, entries = np.random.default_rng(seed), chosen.tokenizer.get_vocab_size()
    found: list[list[Reading]] = [[] for _ in given.inputs]
    pieces = text_generation.pieces(given.inputs, chosen)
    for piece, one in zip(pieces, encode(pieces, chosen, task=TASK), strict=True):
        found[piece.row].append(Reading(piece, one, rng.normal(size=(len(one), entries)).astype(np.float32) * 3))
    return found


def predicted(given: Examples, found: Sequence[Sequence[Reading]]) -> list[tuple[float, ...]]:
    kept = [[short(one, followed=one is not reading[-1]) for one in reading] for reading in found]
    return [cast("tuple[float, ...]", one) for one in text_generation.predictions(kept, given)]


def short(reading: Reading, *, followed: bool) -> Reading:
    return replace(reading, logits=text_generation.shortened(reading.piece, reading.encoded, reading.logits, followed))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return np.asarray(exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True)))


def scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    return text_generation.metrics(text_generation.statistics(predictions, (), LABELS))


def test_rows_are_texts_and_need_no_answer() -> None:
    found = examples("ba be", "bi", "☃☃")

    assert found.labels == text_generation.find_labels(table("ba"), teacher=("x",))
    assert found.inputs == text_generation.read_inputs(table("ba be", "bi", "☃☃"))
    assert found.answered
    assert text_generation.references(found) == ((), (), ())


def test_equal_texts_are_learned_once_and_answered_each() -> None:
    given = ("ba be", "bi", "ba be", "ba")

    assert examples(*given).inputs == ("ba be", "bi", "ba")
    assert len(text_generation.references(examples(*given))) == 3
    assert text_generation.read_inputs(table(*given)) == given


@pytest.mark.parametrize(("given", "said"), [(None, "text is null"), ("  ", "text is empty"), (7, "text is int")])
def test_a_row_without_a_text_is_named_with_its_line(given: object, said: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.csv line 4: {said}"):
        examples("ba", "ba", given)


def test_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="text-generation takes single texts, not a pair such as 'ba'") as caught:
        text_generation.pieces(["be", ("ba", "be")], encoder(gpt()))

    assert caught.value.hint == "join the two"


@pytest.mark.parametrize("kind", ["bytes", "word pieces"])
def test_at_each_token_the_next_one_comes_and_the_end_mark_last(kind: str) -> None:
    chosen = encoder(KINDS[kind]())
    whole = ids_of(LONG, chosen)

    found = aims(examples(LONG, "ba be"), chosen)

    assert len(found) > 3
    assert [token for one in found[:-1] for token in one] == [*whole[1:], END]
    assert found[-1] == [*ids_of("ba be", chosen)[1:], END]


def test_without_an_end_mark_nothing_comes_last() -> None:
    chosen = encoder(gpt(), marks=Marks())

    assert aims(examples("ba be"), chosen) == [[*ids_of("ba be", chosen)[1:], NO_DECISION]]


def test_marks_around_a_slice_are_not_to_be_learned() -> None:
    chosen = encoder(KINDS["word pieces and marks"](), max_length=5)  # room for three words
    ba, be, bi, bo, bu = (ids_of(one, chosen)[0] for one in ("ba", "be", "bi", "bo", "bu"))
    end = chosen.marks.ends[0]

    found = aims(examples("ba be bi bo bu"), chosen)

    assert found == [[ba, be, bi, bo, NO_DECISION], [NO_DECISION, bu, end, NO_DECISION]]


def test_of_a_piece_that_another_follows_one_row_of_logits_is_kept() -> None:
    chosen, given = encoder(gpt()), examples(LONG)
    (first, *_, last), entries = readings(given, chosen)[0], chosen.tokenizer.get_vocab_size()

    assert short(first, followed=True).logits.shape == (2 * len(first.encoded) + entries,)
    assert short(last, followed=False).logits.shape == (2 * len(last.encoded),)


def test_a_text_without_tokens_has_no_aims() -> None:
    given = examples("ba")

    found = text_generation.aims(given, [Piece(0, " ")], [Encoded([], [])], encoder=encoder(bare_word_piece()))

    assert [one.tolist() for one in found] == [[]]
    nothing = Reading(Piece(0, " "), Encoded([], []), np.zeros((0, 9), np.float32))
    assert predicted(given, [[nothing]]) == [(0.0, 0.0, 2.0)]
    assert all(math.isfinite(one) for one in scores([(0.0, 0.0, 0.0)]).values())


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_scored_is_what_is_learned_but_for_the_end(kind: str) -> None:
    chosen, given = encoder(KINDS[kind](), max_length=12), examples(LONG, "ba be", "bi")
    found, learned = readings(given, chosen), iter(aims(given, chosen))

    for row, (surprise, count, characters, *said) in enumerate(predicted(given, found)):
        by_hand, tokens = 0.0, []
        for one in found[row]:
            tokens += [(one, place) for place, aim in enumerate(next(learned)) if aim != NO_DECISION]
        tokens.pop()  # the end mark
        wanted = [aim for each in aims(given.some([row]), chosen) for aim in each if aim != NO_DECISION][:-1]
        for (one, place), aim in zip(tokens, wanted, strict=True):
            by_hand -= log_softmax(one.logits)[place, aim]
        assert surprise == pytest.approx(by_hand, rel=1e-5)
        assert count == len(tokens)
        places = found[row][0].encoded.places
        assert places is not None
        begin, end = (0, 0) if places.words[0] is None else places.characters[0]  # a mark before the text, or none
        assert characters == len(given.inputs[row]) - (end - begin)
        assert said == [float(one.logits[place].argmax()) for one, place in tokens]


def test_a_long_text_has_all_its_tokens_but_the_first_predicted() -> None:
    chosen, given = encoder(gpt()), examples(LONG)

    ((_, count, *_),) = predicted(given, readings(given, chosen))

    assert count == len(ids_of(LONG, chosen)) - 1


@pytest.mark.parametrize("level", [0.0, -700.0, 90.0])
def test_a_model_that_knows_nothing_wavers_between_all_entries(level: float) -> None:
    chosen, given = encoder(gpt()), examples(LONG, "ba be bi")
    entries = chosen.tokenizer.get_vocab_size()
    flat = [
        [Reading(one.piece, one.encoded, np.full_like(one.logits, level)) for one in reading]
        for reading in readings(given, chosen)
    ]

    found = predicted(given, flat)

    assert scores(found)["perplexity"] == pytest.approx(entries)
    unasked = [reading[0].encoded.places.characters[0] for reading in flat if reading[0].encoded.places]
    assert [begin for begin, _ in unasked] == [0, 0]  # nothing tells a first token, and its characters cost nothing
    tokens = sum(one[1] for one in found)
    characters = sum(len(one) for one in given.inputs) - sum(end for _, end in unasked)
    assert scores(found)["bits_per_character"] == pytest.approx(math.log2(entries) * tokens / characters)


def test_a_model_that_knows_all_is_not_surprised() -> None:
    chosen, given = encoder(gpt()), examples("ba be bi")
    ((one,),) = readings(given, chosen)
    sure = np.zeros_like(one.logits)
    sure[np.arange(len(sure) - 1), one.encoded.ids[1:]] = 90

    found = predicted(given, [[Reading(one.piece, one.encoded, sure)]])

    assert scores(found) == pytest.approx({"perplexity": 1.0, "bits_per_character": 0.0})
    assert list(found[0][3:]) == one.encoded.ids[1:]


def test_scores_of_given_predictions() -> None:
    given = [(3.0, 2.0, 7.0, 4.0, 5.0), (1.0, 1.0, 3.0, 4.0), (0.0, 0.0, 1.0)]

    assert text_generation.statistics(given, (), LABELS).tolist() == [[3, 2, 7], [1, 1, 3], [0, 0, 1]]
    assert scores(given) == pytest.approx({"perplexity": math.exp(4 / 3), "bits_per_character": 4 / math.log(2) / 11})
    assert text_generation.main_metric(examples("ba")) in scores(given)
    assert text_generation.statistics((), (), LABELS).shape == (0, 3)


def test_rows_count_as_often_as_they_are_drawn() -> None:
    statistics = text_generation.statistics([(3.0, 2.0, 7.0, 4.0, 5.0), (1.0, 1.0, 3.0, 4.0)], (), LABELS)

    drawn = text_generation.metrics(statistics, np.array([0, 3]))

    assert drawn == pytest.approx({"perplexity": math.e, "bits_per_character": 1 / math.log(2) / 3})
    assert text_generation.metrics(statistics, np.array([1, 1])) == text_generation.metrics(statistics)


def test_agreement_is_the_share_of_tokens_said_alike() -> None:
    left = [(1.0, 3.0, 5.0, 7.0, 8.0, 9.0), (1.0, 1.0, 2.0, 7.0), (0.0, 0.0, 1.0)]
    right = [(9.0, 3.0, 5.0, 7.0, 8.0, 7.0), (9.0, 2.0, 2.0, 7.0, 7.0), (0.0, 0.0, 1.0)]  # the second is read otherwise

    assert text_generation.agreement(left, right) == pytest.approx(2 / 3)
    assert text_generation.agreement(left, left) == 1
    assert text_generation.agreement(left[2:], right[2:]) == 0


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (text_generation.SAMPLE[0], "The"),
        (text_generation.SAMPLE[3], "In the mountains water boils"),
        (LONG, " ".join(WORDS[:10])),
        (f"{LONG} {LONG}", " ".join(WORDS[: text_generation.PROMPT_WORDS])),
        ("Hello world", "Hello"),
        (" Hello over there", "Hello"),
    ],
)
def test_a_prompt_is_a_quarter_of_the_words_and_few(text: str, prompt: str) -> None:
    assert text_generation.prompt_of(text) == prompt


UNSPACED = {
    "Chinese": "今天天气很好,我们去公园散步。" * 50,
    "Thai": "ฉันชอบอ่านหนังสือ" * 50,
    "lines": "\n".join(WORDS * 20),
    "emoji": "😀" * 200,
    "one space": "今天天气很好。" * 30 + " " + "我们去公园散步。" * 30,
    "long words": " ".join(["incomprehensibilities"] * 80),
}


@pytest.mark.parametrize("kind", UNSPACED)
def test_a_prompt_is_short_in_scripts_without_spaces(kind: str) -> None:
    text = UNSPACED[kind]

    prompt = text_generation.prompt_of(text)

    assert text.startswith(prompt)
    assert text_generation.PROMPT_BYTES - 24 < len(prompt.encode()) <= text_generation.PROMPT_BYTES < 128
    assert kind != "long words" or set(prompt.split(" ")) == {"incomprehensibilities"}


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Once", "On"),
        ("All:\nSpeak,", "All:"),
        ("天气很好", "天气"),
        ("天气很", "天"),
        ("天", "天"),
        ("a", "a"),
        (" ", " "),
    ],
)
def test_a_prompt_is_half_of_a_text_at_most_and_never_empty(text: str, prompt: str) -> None:
    assert text_generation.prompt_of(text) == prompt


def test_answers_are_how_prompts_go_on() -> None:
    written = Written(text=" be", tokens=(4,), ended=True, log_probability=-0.5)
    first, last = (
        Reading(Piece(0, "ba"), Encoded([4], [0]), np.zeros((1, 0), np.float32), one) for one in (None, written)
    )

    (found,) = text_generation.answers([[first, last]], LABELS)

    assert found is written
    assert text_generation.to_json(found, LABELS) == {"text": " be", "tokens": 1, "ended": True}
