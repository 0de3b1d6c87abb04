"""Language models: which token comes next. Learned from plain texts; a user gets how a prompt goes on."""

from collections.abc import Sequence
from itertools import groupby
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.table import Table
from kd_deploy.tasks.columns import texts
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, utf8
from kd_deploy.tasks.pieces import single
from kd_deploy.tasks.scoring import summed
from kd_deploy.tasks.slices import slices
from kd_deploy.tasks.task import NO_DECISION, Answers, Examples, LabelSpace, Level, Piece, Prediction, Reading, Readings
from kd_deploy.tasks.writing import Written

NAME = "text-generation"
LEVEL: Level = "token"
ANSWERS: Answers = "classes"
OUTPUTS = ("logits",)
NAMES: tuple[str, ...] = ()
HEAD = "ForCausalLM"
LIMIT = "It writes on in the manner of its training texts; what it states as a fact may be made up."
REQUIRED = ("text",)
OPTIONAL: tuple[str, ...] = ()
INPUTS = ("text",)
PROMPT_WORDS = 16
PROMPT_BYTES = 120  # a byte is a token at most: a model of 128 has room for them
SAMPLE = (
    "The bridge over the river",
    "Nobody had told the guests that the train would leave an hour earlier, and so",
    "Once",
    "In the mountains water boils at a lower temperature than at the sea. The reason for this is that the air",
)


def find_labels(table: Table, *, teacher: tuple[str, ...] = ()) -> LabelSpace:
    """No classes of its own: the vocabulary's entries are what is decided between."""
    return LabelSpace(task=NAME, names=NAMES, problem_type="single_label_classification")


def read_examples(table: Table, labels: LabelSpace) -> Examples:
    """The texts of a table, equal ones once; what comes next says each text itself.

    Raises:
        DataError: An empty text; the line is named.
    """
    inputs = tuple(dict.fromkeys(texts(table, "text")))
    return Examples(inputs=inputs, targets=((),) * len(inputs), labels=labels, source=table.source, sha256=table.sha256)


def read_inputs(table: Table) -> tuple[TextInput, ...]:
    """The texts of a table."""
    return texts(table, "text")


def pieces(inputs: Sequence[TextInput], encoder: Encoder) -> Sequence[Piece]:
    """The texts, long ones in slices that follow each other without a gap or an overlap.

    Raises:
        UsageError: An input is a pair.
    """
    return slices(single(inputs, task=NAME), encoder)


def aims(
    examples: Examples, pieces: Sequence[Piece], encoded: Sequence[Encoded], *, encoder: Encoder
) -> Sequence[NDArray[np.generic]]:
    """The token that comes next at each token of a piece, [S] int64.

    Behind a slice that is the next one's first, behind a text the end mark, NO_DECISION without such a mark; a mark
    that the tokenizer itself puts around each slice is to be followed by the first token of the text alone.
    """
    end = encoder.marks.ends[0] if encoder.marks.ends else NO_DECISION
    by_text = groupby(zip(pieces, encoded, strict=True), key=lambda pair: pair[0].row)
    return [aim for _, pairs in by_text for aim in _next_tokens([one for _, one in pairs], end=end)]


def predictions(readings: Readings, examples: Examples) -> tuple[Prediction, ...]:
    """For every text minus the log-probability of its tokens in nats, their number and characters; then those said.

    The aims are those of training but for the end mark, which is left out. The first token of a text counts, and its
    characters do, only where the tokenizer puts a mark before it: there is nothing else to tell it from.
    """
    return tuple(
        _prediction(reading, characters=len(str(one)) - _given(reading[0].encoded))
        for reading, one in zip(readings, examples.inputs, strict=True)
    )


def shortened(piece: Piece, encoded: Encoded, logits: NDArray[np.float32], followed: bool) -> NDArray[np.float32]:
    """What is kept of the logits [S, V] of a piece: all that its text is scored by, and no row for each token.

    Returns:
        At each token the log-probability of the piece's next one, 0 at the last, [S]; the likeliest entry, [S]; and
        where another piece follows, all log-probabilities behind the last token of the text, [V].
    """
    ids = np.asarray(encoded.ids, dtype=np.int64)
    raised = logits - logits.max(axis=1, keepdims=True)  # [S, V]
    total = np.log(np.exp(raised).sum(axis=1, dtype=np.float64)).astype(np.float32)  # [S]
    told = np.zeros(len(ids), dtype=np.float32)
    told[:-1] = raised[np.arange(len(ids) - 1), ids[1:]] - total[:-1] if len(ids) else 0
    last = _own_tokens(encoded)[1] - 1
    behind = raised[last] - total[last] if followed and last >= 0 else np.zeros(0, dtype=np.float32)
    return np.concatenate([told, raised.argmax(axis=1).astype(np.float32), behind])


def prompt_of(text: str) -> str:
    """The beginning of a text, for a model to go on with: a quarter of its words, and few.

    At most half of its bytes, too: there are scripts without spaces, and a word may be all of a text. The first
    character is never left out.
    """
    text = utf8(text.lstrip() or text)
    words = text.split(" ")
    begun = " ".join(words[: max(1, min(PROMPT_WORDS, len(words) // 4))])
    most = min(PROMPT_BYTES, len(text.encode()) // 2)
    if len(begun.encode()) > most:
        cut = begun.encode()[:most].decode(errors="ignore")
        begun = "".join(cut.rsplit(maxsplit=1)[:1])
    return begun or text[:1]


def references(examples: Examples) -> tuple[Prediction, ...]:
    """Nothing, (): the texts themselves say what comes next."""
    return cast("tuple[Prediction, ...]", examples.targets)


def answers(readings: Readings, labels: LabelSpace) -> list[Written]:
    """How every prompt goes on; a long one behind its last slice."""
    found = [reading[-1].written for reading in readings]
    assert all(one is not None for one in found)  # noqa: S101 - a model that answers writes
    return cast("list[Written]", found)


def to_json(answer: object, labels: LabelSpace) -> dict[str, object]:
    """An answer as its JSON line: the text, how many tokens it has, and whether it ended by itself."""
    return cast("Written", answer).to_json()


def main_metric(examples: Examples) -> str:
    """The perplexity; the lower, the better."""
    return "perplexity"


def statistics(
    predictions: Sequence[Prediction], references: Sequence[Prediction], labels: LabelSpace
) -> NDArray[np.float64]:
    """Of each text minus the log-probability of its tokens, their number, and its characters: [N, 3]."""
    rows = [one[:3] for one in cast("Sequence[tuple[float, ...]]", predictions)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Perplexity, e to the mean of minus a token's log-probability; and bits a character, whatever the tokens."""
    (surprise, tokens, characters), _ = summed(statistics, counts)
    return {
        "perplexity": float(np.exp(surprise / max(tokens, 1.0))),
        "bits_per_character": float(surprise / np.log(2) / max(characters, 1.0)),
    }


def agreement(left: Sequence[Prediction], right: Sequence[Prediction]) -> float:
    """The share of tokens behind which two models say the same next one, over texts of as many tokens for both."""
    pairs = zip(cast("Sequence[tuple[float, ...]]", left), cast("Sequence[tuple[float, ...]]", right), strict=True)
    said = [(a, b) for one, other in pairs if len(one) == len(other) for a, b in zip(one[3:], other[3:], strict=True)]
    return sum(a == b for a, b in said) / len(said) if said else 0.0


def _next_tokens(slices: Sequence[Encoded], *, end: int = NO_DECISION) -> list[NDArray[np.int64]]:
    """What comes next at each token of the slices of one text; `end` behind the last."""
    found, behind = [], end
    for number, one in reversed(list(enumerate(slices))):
        aim = np.full(len(one), NO_DECISION, dtype=np.int64)
        first, stop = _own_tokens(one)
        if first < stop:
            aim[first:stop] = [*one.ids[first + 1 : stop], behind]
            behind = one.ids[first]
            if first and not number:  # a mark before the text
                aim[first - 1] = behind
        found.append(aim)
    return found[::-1]


def _own_tokens(encoded: Encoded) -> tuple[int, int]:
    """The first token that is of the text, and the one behind the last; the tokenizer's marks stand around them."""
    if encoded.places is None:
        return 0, len(encoded)
    own = [token for token, word in enumerate(encoded.places.words) if word is not None]
    return (own[0], own[-1] + 1) if own else (0, 0)


def _given(encoded: Encoded) -> int:
    """The characters of a text's first token, where no mark before it tells it."""
    first, stop = _own_tokens(encoded)
    if first or not stop or encoded.places is None:
        return 0
    begin, end = encoded.places.characters[0]
    return end - begin


def _prediction(reading: Sequence[Reading], *, characters: int) -> Prediction:
    surprise, said = 0.0, list[float]()
    for one, aim in zip(reading, _next_tokens([one.encoded for one in reading]), strict=True):
        told, likeliest, behind = _parts(one)
        rows = np.flatnonzero(aim != NO_DECISION)
        last = _own_tokens(one.encoded)[1] - 1  # another piece says what comes next there
        surprise -= float(told[rows[rows != last]].sum(dtype=np.float64))
        surprise -= sum(float(behind[aim[row]]) for row in rows[rows == last])
        said += likeliest[rows].tolist()
    return (surprise, float(len(said)), float(characters), *map(float, said))


def _parts(reading: Reading) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    told, likeliest, behind = np.split(reading.logits, [len(reading.encoded), 2 * len(reading.encoded)])
    return told, likeliest, behind
