"""Extractive question answering: which part of a context answers a question, if any does."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import UsageError
from kd_deploy.tasks.accepted import accepted_answers
from kd_deploy.tasks.columns import texts
from kd_deploy.tasks.encoding import Encoded, Encoder, Places, TextInput
from kd_deploy.tasks.overlap import f1_of, words_of
from kd_deploy.tasks.pieces import with_accents
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.task import (
    UNKNOWN,
    Accepted,
    Answers,
    Examples,
    LabelSpace,
    Level,
    Piece,
    Prediction,
    Reading,
    Readings,
)
from kd_deploy.tasks.windows import windows

NAME = "question-answering"
LEVEL: Level = "span"
ANSWERS: Answers = "classes"
OUTPUTS = ("start_logits", "end_logits")
NAMES = ("start", "end")
HEAD = "ForQuestionAnswering"
LIMIT = "It answers with a part of the context, and may do so where the context has no answer."
REQUIRED = ("context", "question")
OPTIONAL = ("answers", "answer", "start")
INPUTS = ("question", "context")
MOST_TOKENS = 30  # of an answer
NONE = 0.5  # the probability of no answer above which none is given
BEST = 20  # starts, and ends, of a piece that are tried with one another
SAMPLE: tuple[TextInput, ...] = (
    ("Who repaired the clock?", "The clock on the town hall stood still for a year. Ada Brandt repaired it in May."),
    ("How long is the tunnel?", "The tunnel under the river is 1,200 metres long. Walking through it takes a while."),
    ("When does it open?", "The museum is closed on Mondays. On other days it opens at ten. Children pay nothing."),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: a text, its characters in the context, its probability, and that of none.

    The text is empty where `no_answer` is above a threshold, 0.5 unless `at` was asked for another; `score` is that of
    the likeliest text all the same, which is `best`, with its characters.
    """

    text: str
    start: int
    end: int
    score: float
    no_answer: float
    best: tuple[str, int, int] = ("", 0, 0)

    def at(self, threshold: float) -> "Answer":
        """The same, with no answer where the probability of none is above another threshold, 0 to 1."""
        text, start, end = ("", 0, 0) if self.no_answer > threshold else self.best
        return replace(self, text=text, start=start, end=end)


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """The two places to find, for any table and teacher."""
    return LabelSpace(task=NAME, names=NAMES, problem_type="single_label_classification")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table as pairs of question and context, and the answers that are accepted.

    Raises:
        DataError: No answers, a text that is empty, or an answer that is not in its context; the line is named.
    """
    inputs = read_inputs(table)
    targets = tuple(accepted_answers(table, row, context=context) for row, (_, context) in enumerate(inputs))
    return Examples(inputs=inputs, targets=targets, labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[tuple[str, str], ...]:
    """The pairs of question and context of a table whose answers do not matter."""
    return tuple(zip(texts(table, "question"), texts(table, "context"), strict=True))


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """The inputs, each with as much of its context as a model reads at once, several times where it has to be.

    Raises:
        UsageError: An input is not a pair.
    """
    for position, one in enumerate(inputs):
        if isinstance(one, str):
            raise UsageError(f"input {position} is one text", hint="give the pair (question, context)")
    return windows(inputs, encoder)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """The first and last token [2] of the first accepted answer; the first token, twice, where it is not there."""
    return [np.array(_aim(*both, examples=examples), dtype=np.int64) for both in zip(pieces, encoded, strict=True)]


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The text of every answer."""
    return tuple(one.text for one in answers(readings, examples.labels))


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The accepted texts of every example; none where there is no answer."""
    return tuple(target.texts for target in cast("Sequence[Accepted]", examples.targets))


def answers(readings: Readings, labels: LabelSpace) -> list[Answer]:
    """The answer to every input."""
    return [_answer(of_pieces) for of_pieces in readings]


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line: the text, its probability, its characters, and the probability of none."""
    given = cast("Answer", answer)
    score, no_answer = round(given.score, 6), round(given.no_answer, 6)
    return {"answer": given.text, "score": score, "start": given.start, "end": given.end, "no_answer": no_answer}


def main_metric(examples: Examples) -> str:
    """F1 over the words of an answer."""
    return "f1"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """Whether a row's text is an accepted one, and the F1 of its words with the nearest of these: [N, 2]."""
    found = np.zeros((len(references), 2), dtype=np.float64)
    for row, (text, accepted) in enumerate(zip(predictions, references, strict=True)):
        own, others = words_of(text), [words_of(other) for other in cast("tuple[str, ...]", accepted) or ("",)]
        found[row] = own in others, max(f1_of(own, other) for other in others)
    return found


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Means over the rows of F1 and of exact matches, from 0 to 1."""
    sums, total = summed(statistics, counts)
    return {"f1": float(sums[1] / total), "exact_match": float(sums[0] / total)}


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The mean F1 between the words of the two answers to a row."""
    return float(np.mean([f1_of(words_of(one), words_of(other)) for one, other in zip(left, right, strict=True)]))


def _context(encoded: Encoded) -> tuple[int, list[tuple[int, int]]]:
    """The first token of the context, and the characters of all its tokens."""
    places = cast("Places", encoded.places)
    first = places.texts.index(1) if 1 in places.texts else 0
    return first, places.characters[first : first + places.texts.count(1)]


def _aim(piece: Piece, encoded: Encoded, *, examples: Examples) -> tuple[int, int]:
    if piece.row >= len(examples):
        return UNKNOWN, UNKNOWN
    target = cast("Accepted", examples.targets[piece.row])
    if not target.texts:
        return 0, 0
    before, places = _context(encoded)
    text, start = target.texts[0].rstrip(), target.starts[0] - piece.start
    first = bisect_right(places, start, key=itemgetter(1))
    last = bisect_left(places, start + len(text), key=itemgetter(0)) - 1
    is_here = 0 <= start <= len(piece.input[1]) - len(text) and first <= last
    return (before + first, before + last) if is_here else (0, 0)


def _answer(readings: Sequence[Reading]) -> Answer:
    spans: dict[tuple[int, int, str], float] = {}
    for reading in readings:
        for span, score in _spans(reading):
            spans[span] = max(score, spans.get(span, score))
    none = min((float(one.logits[0].sum()) for one in readings if len(one.logits)), default=0.0)
    logits = np.array([none, *spans.values()])
    raised = np.exp(logits - logits.max())
    no_answer, *scores = (raised / raised.sum()).tolist()
    score, (start, end, text) = max(zip(scores, spans, strict=True), key=itemgetter(0), default=(0.0, (0, 0, "")))
    return Answer("", 0, 0, score, no_answer, best=(text, start, end)).at(NONE)


def _spans(reading: Reading) -> Iterator[tuple[tuple[int, int, str], float]]:
    """The likely spans of a piece: their characters in the whole context, their texts, and their logits."""
    piece, (before, places) = reading.piece, _context(reading.encoded)
    logits = reading.logits[before : before + len(places)].astype(np.float64)  # [n, 2]
    starts, ends = np.argsort(-logits, axis=0, kind="stable")[:BEST].T
    rows, columns = np.nonzero((ends >= starts[:, None]) & (ends < starts[:, None] + MOST_TOKENS))  # [starts, ends]
    firsts, lasts = starts[rows], ends[columns]
    scores = (logits[firsts, 0] + logits[lasts, 1]).tolist()
    for first, last, score in zip(firsts.tolist(), lasts.tolist(), scores, strict=True):
        start, end = places[first][0], with_accents(piece.input[1], places[last][1])
        text = piece.input[1][start:end]
        start += len(text) - len(text.lstrip())  # some tokenizers count the space before a word as its first character
        if answer := text.strip():
            yield (piece.start + start, piece.start + start + len(answer), answer), score
