"""Texts to texts: translations, summaries, rewordings; a target is written for a source."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.tasks import likeness
from kd_deploy.tasks.columns import texts
from kd_deploy.tasks.encoding import Encoded, Encoder, Marks, TextInput
from kd_deploy.tasks.pieces import single, whole
from kd_deploy.tasks.task import NO_DECISION, Answers, Examples, LabelSpace, Level, Piece, Prediction, Reading, Readings
from kd_deploy.tasks.writing import Written

NAME = "text2text"
LEVEL: Level = "token"
ANSWERS: Answers = "classes"
OUTPUTS = ("logits",)
NAMES: tuple[str, ...] = ()
HEAD = "ForSeq2SeqLM"
LIMIT = "It writes for any source, and may leave out or add what the source says: have what matters read by a person."
REQUIRED = ("source", "target")
OPTIONAL: tuple[str, ...] = ()
INPUTS = ("source",)
SAMPLE = (
    "A man in a blue shirt is standing on a ladder.",
    "Two children are running across the wet grass behind their dog.",
    "The bus is late.",
    "An old woman with a red scarf sells vegetables at a small market while people walk past her.",
)


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """No classes of its own: the vocabulary's entries are what is decided between."""
    return LabelSpace(task=NAME, names=NAMES, problem_type="single_label_classification")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The sources of a table, and what is to be written for each.

    Raises:
        DataError: An empty source or target; the line is named.
    """
    sources, targets = texts(table, "source"), texts(table, "target")
    return Examples(inputs=sources, targets=targets, labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The sources of a table whose targets do not matter."""
    return texts(table, "source")


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """Every source whole: what is too long is cut.

    Raises:
        UsageError: An input is a pair.
    """
    return whole(single(inputs, task=NAME))


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """The tokens to write for each source, [T] int64, the end mark last; of a source without target [NO_DECISION].

    T is at most `max_length`. The mark that the decoder is given first is not among them; where it is given more,
    NO_DECISION stands for each of these.
    """
    known = {row: target for row, target in enumerate(examples.targets) if isinstance(target, str)}
    found = encoder.encode_all(list(known.values()))
    tokens = {
        row: _between(one.ids, encoder.marks, most=encoder.max_length) for row, one in zip(known, found, strict=True)
    }
    given = [NO_DECISION] * (len(encoder.marks.starts) - 1)
    return [np.array([*given, *tokens.get(piece.row, [NO_DECISION])], dtype=np.int64) for piece in pieces]


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The text that was written for every source."""
    return tuple(_written(reading).text for reading in readings)


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The targets."""
    return cast("tuple[str, ...]", examples.targets)


def answers(readings: Readings, labels: LabelSpace) -> list[Written]:
    """What was written for every source."""
    return [_written(reading) for reading in readings]


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line: the text, how many tokens it has, and whether it ended by itself."""
    return cast("Written", answer).to_json()


def main_metric(examples: Examples) -> str:
    """BLEU of all rows together; chrF where most targets have fewer words than BLEU's longest n-gram.

    So it is with words and names, and with languages that put no spaces between words.
    """
    words = [len(one.split()) for one in examples.targets if isinstance(one, str)]
    short = sum(count < likeness.BLEU_ORDER for count in words)
    return "chrf" if 2 * short > len(words) else "bleu"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """What each row adds to BLEU, chrF and ROUGE-L, [N, 29]."""
    return likeness.statistics(cast("Sequence[str]", predictions), cast("Sequence[str]", references))


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """BLEU, chrF and ROUGE-L, each from 0 to 1."""
    return likeness.metrics(statistics, counts)


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """How alike the texts of two models are, row by row: 1 where they are equal, else their chrF; the mean."""
    pairs = zip(cast("Sequence[str]", left), cast("Sequence[str]", right), strict=True)
    return float(np.mean([likeness.likeness(one, other) for one, other in pairs])) if left else 0.0


def _between(ids: Sequence[int], marks: Marks, *, most: int) -> list[int]:
    """The tokens of a target without the mark that it starts with, and with one that ends it."""
    plain = list(ids[1:] if ids and ids[:1] == list(marks.starts[-1:]) else ids)
    if not marks.ends or (plain and plain[-1] in marks.ends):
        return plain[:most]
    return [*plain[: most - 1], marks.ends[0]]


def _written(reading: Sequence[Reading]) -> Written:
    written = reading[0].written
    assert written is not None  # noqa: S101 - a model of this task writes
    return written
