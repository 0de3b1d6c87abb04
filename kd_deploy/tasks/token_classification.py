"""Token classification: the entities of a text, learned from words that are tagged one by one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import tagging
from kd_deploy.tasks.columns import few, texts
from kd_deploy.tasks.encoding import Encoded, Encoder, Places, TextInput
from kd_deploy.tasks.pieces import with_accents
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.task import (
    NO_DECISION,
    UNKNOWN,
    Answers,
    Classes,
    Examples,
    LabelSpace,
    Level,
    Piece,
    Prediction,
    Reading,
    Readings,
    Tagged,
)
from kd_deploy.tasks.windows import windows

NAME = "token-classification"
LEVEL: Level = "token"
ANSWERS: Answers = "classes"
OUTPUTS = ("logits",)
NAMES = None  # the data give them
HEAD = "ForTokenClassification"
LIMIT = "It finds names such as those that it was trained on; other kinds it does not know."
REQUIRED = ("tokens", "tags")
OPTIONAL = ("text",)
INPUTS: tuple[str, ...] = ()  # tokens or text: either will do
SAMPLE = (
    "Ines Carvalho moved from Porto to Toronto in 2019.",
    "The Nordwind Institute in Kiel has signed a contract with Halden Shipping, said its director, Jonas Brandt.",
    "No trains today.",
    "In Nairobi, Wanjiru Otieno of the Lakeside Trust told reporters that the road to Kisumu would stay closed.",
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A name in a text: its characters from `start` up to `end`, and how probable its tags are, from 0 to 1."""

    type: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Entities:
    """The answer to one input: what it names, in order."""

    entities: tuple[Entity, ...]


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """The tags of a training table, in the teacher's order where it has been taught already.

    Args:
        table: Training rows.
        teacher: Tags of the teacher, in the order of its logits; empty where it is yet to learn them.

    Raises:
        DataError: A row that cannot be read, no entity at all, or tags that the teacher does not have.
    """
    seen = {tag for row in tagging.read_tags(table, tagging.read_words(table)) for tag in row}
    if seen == {tagging.OUTSIDE}:
        raise DataError(f"{table.source} has no entity: every tag is O", hint="give training data with entities")
    named = {name for name in table.label_names if tagging.TAG.fullmatch(name)}
    names = _match_teacher(table, seen, teacher) if teacher else tagging.tags_of(seen | named)
    return LabelSpace(task=NAME, names=names, problem_type="single_label_classification")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The rows of a table as texts, and the characters and class id of each word.

    Raises:
        DataError: A row that cannot be read, or a tag that training never saw; the line is named.
    """
    words = tagging.read_words(table)
    rows = tagging.joined(words)
    ids = {name: index for index, name in enumerate(labels.names)}
    targets = []
    for row, tags in enumerate(tagging.read_tags(table, words)):
        unseen = [tag for tag in tags if tag not in ids]
        if unseen:
            raise DataError(
                f"{table.place(row)}: tag {unseen[0]!r} is not one of {few(labels.names)}",
                hint="correct the row, or add rows with this type to the training data",
            )
        targets.append(Tagged(rows[row][1], tuple(ids[tag] for tag in tags)))
    inputs = tuple(text for text, _ in rows)
    return Examples(inputs=inputs, targets=tuple(targets), labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The texts of a table whose tags do not matter: the column text where it is there, else words joined.

    Raises:
        DataError: Neither column is there, or a row of it cannot be read; the line is named.
    """
    if "text" in table.columns:
        return texts(table, "text")
    if "tokens" not in table.columns:
        raise DataError(
            f"{table.source} has no column text or tokens", hint="name it in data.columns, as in {text: sentence}"
        )
    return tuple(text for text, _ in tagging.joined(tagging.read_words(table)))


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """The texts, long ones in overlapping slices.

    Raises:
        UsageError: An input is a pair.
    """
    if not all(isinstance(one, str) for one in inputs):
        raise UsageError(f"{NAME} reads single texts, and got a pair", hint="give each text by itself")
    return windows(inputs, encoder)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """Class ids [S] of the tokens of each piece; UNKNOWN for texts without tags, NO_DECISION at special tokens."""
    targets, names = cast("Sequence[Tagged]", examples.targets), examples.labels.names
    found: list[NDArray[np.generic]] = []
    for piece, one in zip(pieces, encoded, strict=True):
        known = piece.row < len(targets)
        other = names.index(tagging.OUTSIDE) if known else UNKNOWN
        of = cast("Places", one.places).texts
        aim = np.array([NO_DECISION if text is None else other for text in of], dtype=np.int64)  # [S]
        if known:
            tokens = tagging.tokens_of_piece(piece, one)
            aim[tokens.rows] = tagging.tags_of_tokens(tokens, targets[piece.row], names=names, start=piece.start)
        found.append(aim)
    return found


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """The class ids of the words of every example."""
    targets, names = cast("Sequence[Tagged]", examples.targets), examples.labels.names
    found = []
    for reading, target in zip(readings, targets, strict=True):
        tokens, logits = tagging.tokens_read(reading)
        tags = tagging.tags_of_words(tokens, logits.argmax(axis=-1), words=target.words, names=names)
        found.append(tuple(tags.tolist()))
    return tuple(found)


def references(examples: Examples) -> tuple[Prediction, ...]:
    """The class ids of the words of every example, as they were given."""
    return tuple(target.tags for target in cast("Sequence[Tagged]", examples.targets))


def answers(readings: Readings, labels: LabelSpace) -> list[Entities]:
    """What every input names."""
    return [answer(reading, labels) for reading in readings]


def answer(readings: Sequence[Reading], labels: LabelSpace) -> Entities:
    """What one input names, as the readings of its pieces show; each word is what its first token is."""
    tokens, logits = tagging.tokens_read(readings)
    firsts = np.flatnonzero(tokens.begins)
    if not len(firsts):
        return Entities(())
    of_words = logits[firsts].astype(np.float64)  # [W, C]
    scores = 1 / np.exp(of_words - of_words.max(axis=-1, keepdims=True)).sum(axis=-1)  # [W], of the largest logit
    starts, ends, text = tokens.starts[firsts], np.maximum.reduceat(tokens.ends, firsts), tagging.text_of(readings)
    found = []
    for one in tagging.spans(of_words.argmax(axis=-1).tolist(), labels.names):
        start, end = int(starts[one.first]), with_accents(text, int(ends[one.last]))
        score = float(scores[one.first : one.last + 1].mean())
        found.append(Entity(one.type, text[start:end], start, end, score))
    return Entities(tuple(found))


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line: the type, text, characters and probability of each entity."""
    given = cast("Entities", answer)
    return {"entities": [asdict(one) | {"score": round(one.score, 6)} for one in given.entities]}


def main_metric(examples: Examples) -> str:
    """F1 of whole entities."""
    return "f1"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """How many entities of each row are right, predicted, and there: [N, 3]. Right: type, first and last word."""
    out = np.zeros((len(references), 3))
    for row, (one, other) in enumerate(zip(predictions, references, strict=True)):
        predicted = set(tagging.spans(cast("Classes", one), labels.names))
        actual = set(tagging.spans(cast("Classes", other), labels.names))
        out[row] = len(predicted & actual), len(predicted), len(actual)
    return out


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """F1, precision and recall over all entities together; 0 where there is nothing to divide by."""
    (right, predicted, actual), _ = summed(statistics, counts)
    return {
        "f1": float(2 * right / max(1, predicted + actual)),
        "precision": float(right / max(1, predicted)),
        "recall": float(right / max(1, actual)),
    }


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of words that two models tag alike."""
    words = [
        a == b
        for one, other in zip(left, right, strict=True)
        for a, b in zip(cast("Classes", one), cast("Classes", other), strict=True)
    ]
    return sum(words) / len(words)


def _match_teacher(table: Table, seen: set[str], teacher: tuple[str, ...]) -> tuple[str, ...]:
    strange = sorted((seen | {tagging.OUTSIDE}) - set(teacher))
    if strange:
        raise DataError(
            f"{table.source} needs the tag {strange[0]!r}, and the teacher's classes are {few(teacher)}",
            hint="rename the tags to the teacher's, or add teacher.finetune to teach it yours",
        )
    foreign = [name for name in teacher if not tagging.TAG.fullmatch(name)]
    if foreign:
        raise DataError(
            f"the teacher's class {foreign[0]!r} is not a BIO tag",
            hint="add teacher.finetune to teach it tags that are",
        )
    return teacher
