"""Texts in, answers out: tokenise, batch by length, run or write, decode."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import UsageError
from kd_deploy.generation import Generation
from kd_deploy.runner import Runner
from kd_deploy.runtime.generation.first_token import FirstToken
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.runtime.stream import as_they_come
from kd_deploy.tasks import pieces
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, batches_by_length, unpadded
from kd_deploy.tasks.heads import MAIN, Head, find_head, lay_out
from kd_deploy.tasks.registry import at_once, judged_by_what_is_written, mask_filled, names_tokens, shortening, task_of
from kd_deploy.tasks.task import Examples, LabelSpace, Piece, Prediction, Reading

NOTHING_READ, NO_LOGITS = Encoded([], []), np.zeros((0, 0), dtype=np.float32)
TOKEN_BUDGET = 512  # larger batches leave the processor's caches: no faster, and more memory
WIDE_BUDGET = 128  # where each token has the whole vocabulary: memory that is freed and asked for anew takes as long


class Predictor:
    """A model that answers texts. Open it with `load`; close it, or use it in a `with` block."""

    def __init__(
        self,
        runner: Runner,
        encoder: Encoder,
        labels: LabelSpace,
        *,
        via: str,
        outputs: Sequence[str] = (),
        heads: Mapping[str, Head] | None = None,
        writer: Writer | None = None,
    ) -> None:
        """Join a model with its tokenizer.

        Args:
            runner: The model.
            encoder: Its tokenizer.
            labels: The classes of the task to answer.
            via: By which road texts become answers.
            outputs: What the runner calls the logits of that task; empty: as the task does.
            heads: All tasks of the model, where there are several.
            writer: Writes the answers, where they are texts.
        """
        self._runner = runner
        self._encoder = encoder
        self._via = via
        self._heads = heads or lay_out(labels, {})
        self._writer = writer
        self._task = task_of(labels)
        self._outputs = tuple(outputs) or self._task.OUTPUTS
        self.labels = labels

    @property
    def runner(self) -> Runner:
        """The bare model; of one that writes, the way to the first token."""
        return self._runner if self._writer is None else FirstToken(self._writer.decoder)

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this number."""
        return int(self._encoder.tokenizer.get_vocab_size())

    @property
    def mask_id(self) -> int | None:
        """The token that it fills; None: it fills none."""
        return mask_filled(self._encoder.tokenizer, self.labels)

    @property
    def max_length(self) -> int:
        """Tokens that are read at once: longer inputs are cut to them, or read in pieces."""
        return self._encoder.max_length

    @property
    def batch_size(self) -> None:
        """Batches hold texts of like length, as many as fit the token budget."""
        return

    @property
    def via(self) -> str:
        """By which road texts become answers."""
        return self._via

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model answers, the main task first."""
        return tuple(self._heads)

    def task(self, name: str) -> "Predictor":
        """The same open model, answering another of its tasks. It is closed once, by whoever opened it.

        Raises:
            UsageError: The model has no such task.
        """
        head = find_head(self._heads, name)
        return Predictor(
            self._runner,
            self._encoder,
            head.labels,
            via=self._via,
            outputs=() if name == MAIN else (head.output,),
            heads=self._heads,
            writer=self._writer,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory back."""
        (self._writer or self._runner).close()

    def predict(self, inputs: Sequence[TextInput]) -> list[Any]:
        """The answer to every text or pair, in their order: what an answer is, the task's module says.

        Raises:
            UsageError: An input is neither a text nor a pair of texts.
        """
        return self._answers(inputs, first=0)

    def stream(self, inputs: Iterable[TextInput]) -> Iterator[Any]:
        """Answers to any number of inputs, in their order, as soon as each has arrived."""
        first = 0
        for waiting in as_they_come(inputs):
            yield from self._answers(waiting, first=first)
            first += len(waiting)

    def to_json(self, answer: object) -> dict[str, object]:
        """An answer as its JSON line."""
        return self._task.to_json(answer, self.labels)

    def predictions(self, examples: Examples) -> tuple[Prediction, ...]:
        """What is scored of the answers to examples."""
        written = judged_by_what_is_written(self._task)
        if written:
            return pieces.predicted(examples, task=self._task, reading=self.write)
        some = at_once(self._task, vocabulary_size=self.vocabulary_size)
        return pieces.predicted(examples, task=self._task, reading=self.read, at_once=some)

    def logits(self, inputs: Sequence[TextInput]) -> NDArray[np.float32]:
        """The logits [N, C] of every input of a task that decides one thing about a text, in their order."""
        return pieces.stacked(self.read(inputs))

    def read(self, inputs: Sequence[TextInput], *, first: int = 0) -> list[list[Reading]]:
        """What the model shows of every input, piece by piece.

        Args:
            inputs: Texts or pairs.
            first: The place of the first among all that were asked for, which a fault names.

        Raises:
            UsageError: An input is neither a text nor a pair of texts.
        """
        _check(inputs, first=first)
        return pieces.read(inputs, self._encoder, task=self._task, show=self._shown, shorten=shortening(self._task))

    def write(
        self, inputs: Sequence[TextInput], settings: Generation | None = None, *, first: int = 0
    ) -> list[list[Reading]]:
        """What the model writes after every prompt, or for every source.

        Args:
            inputs: Texts.
            settings: How; None: as the bundle says.
            first: The place of the first among all that were asked for, which its chance goes by.

        Raises:
            UsageError: The model writes nothing; or a prompt is longer than it has positions for.
        """
        _check(inputs, first=first)
        texts = pieces.single(inputs, task=self.labels.task)
        found = self.writer.write(texts, settings, first=first)
        return [
            [Reading(Piece(row, text), NOTHING_READ, NO_LOGITS, one)]
            for row, (text, one) in enumerate(zip(texts, found, strict=True))
        ]

    @property
    def writer(self) -> Writer:
        """What writes the answers.

        Raises:
            UsageError: They are no texts.
        """
        if self._writer is None:
            raise UsageError(f"a model for {self.labels.task} writes nothing", hint="use predict")
        return self._writer

    def _answers(self, inputs: Sequence[TextInput], *, first: int) -> list[Any]:
        read = (self.write if self._writer else self.read)(inputs, first=first)
        return list(self._task.answers(read, self.labels))

    def _shown(self, encoded: Sequence[Encoded]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        budget = WIDE_BUDGET if names_tokens(self.labels) else TOKEN_BUDGET
        for rows in batches_by_length([len(one) for one in encoded], token_budget=budget):
            yield from zip(rows, self._run([encoded[row] for row in rows]), strict=True)

    def _run(self, encoded: Sequence[Encoded]) -> Sequence[NDArray[np.float32]]:
        batch = self._encoder.collate(encoded, input_names=self._runner.input_names)
        shown = self._runner.run(batch)
        values = [shown[name] for name in self._outputs]
        if self._task.LEVEL == "text":
            return list(values[0])
        whole = values[0] if len(values) == 1 else np.stack(values, axis=-1)  # [B, S, C]
        return unpadded(whole, encoded, padding_side=self._encoder.padding_side)


def _check(inputs: Sequence[TextInput], *, first: int = 0) -> None:
    if isinstance(inputs, str):
        raise UsageError("predict takes a list of texts, not one text", hint="write predict([text])")
    for position, one in enumerate(inputs, start=first):
        pair = isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one)  # noqa: PLR2004
        if not isinstance(one, str) and not pair:
            raise UsageError(
                f"input {position} is {type(one).__name__}, not a text or a pair of texts",
                hint="give str, or (str, str) for a pair",
            )
