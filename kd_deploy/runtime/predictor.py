"""Texts in, answers out: tokenise, batch by length, run, decode."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kd_deploy.bundle import Bundle
from kd_deploy.errors import BundleError, UsageError
from kd_deploy.runner import Runner
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.runtime.stream import as_they_come
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, batches_by_length
from kd_deploy.tasks.heads import MAIN, OUTPUT, Head, find_head, lay_out
from kd_deploy.tasks.text_classification import Classification, LabelSpace, answer

TOKEN_BUDGET = 512  # larger batches leave the processor's caches: no faster, and more memory


class Predictor:
    """A model that answers texts. Open it with `load`; close it, or use it in a `with` block."""

    def __init__(
        self,
        runner: Runner,
        encoder: Encoder,
        labels: LabelSpace,
        *,
        via: str,
        output: str = OUTPUT,
        heads: Mapping[str, Head] | None = None,
    ) -> None:
        """Join a model with its tokenizer.

        Args:
            runner: The model.
            encoder: Its tokenizer.
            labels: The classes of the task to answer.
            via: By which road texts become answers.
            output: What the runner calls the logits of that task.
            heads: All tasks of the model, where there are several.
        """
        self._runner = runner
        self._encoder = encoder
        self._via = via
        self._heads = heads or lay_out(labels, {})
        self._output = output
        self.labels = labels

    @property
    def runner(self) -> Runner:
        """The bare model."""
        return self._runner

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this number."""
        return int(self._encoder.tokenizer.get_vocab_size())

    @property
    def max_length(self) -> int:
        """Longer inputs are cut to this many tokens."""
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
        return Predictor(self._runner, self._encoder, head.labels, via=self._via, output=head.output, heads=self._heads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory back."""
        self._runner.close()

    def predict(self, inputs: Sequence[TextInput]) -> list[Classification]:
        """The answer to every text or pair, in their order.

        Raises:
            UsageError: An input is neither a text nor a pair of texts.
        """
        return [answer(row, self.labels) for row in self.logits(inputs)]

    def stream(self, inputs: Iterable[TextInput]) -> Iterator[Classification]:
        """Answers to any number of inputs, in their order, as soon as each has arrived."""
        for waiting in as_they_come(inputs):
            yield from self.predict(waiting)

    def logits(self, inputs: Sequence[TextInput]) -> NDArray[np.float32]:
        """The logits [N, C] of every input, in their order."""
        _check(inputs)
        if len(inputs) == 1:
            return self._run([self._encoder.encode(inputs[0])])
        encoded = self._encoder.encode_all(inputs)
        out = np.empty((len(encoded), len(self.labels.names)), dtype=np.float32)
        for rows in batches_by_length([len(one) for one in encoded], token_budget=TOKEN_BUDGET):
            out[rows] = self._run([encoded[row] for row in rows])
        return out

    def _run(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        batch = self._encoder.collate(encoded, input_names=self._runner.input_names)
        return self._runner.run(batch)[self._output]


def load(
    bundle: Bundle | Path | str,
    *,
    precision: str | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    task: str = MAIN,
) -> Predictor:
    """A predictor over a bundle on disk; the hash of every file that it reads is compared first.

    Args:
        bundle: The bundle, or its folder.
        precision: fp32 or int8. None: int8 where the bundle has it.
        provider: An execution provider; one that is missing is an error, never a silent run on the CPU.
        threads: Threads of one run. None: the cores that this process may use.
        task: Which of its tasks to answer.

    Raises:
        BundleError: The bundle is damaged, was changed, or lacks the precision.
        BenchmarkError: The provider is missing.
        UsageError: The bundle has no such task.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = precision or ("int8" if "int8" in opened.manifest.graphs else "fp32")
    heads = heads_of(opened)
    find_head(heads, task)  # before the graph is opened
    graph = opened.graph(chosen)
    encoder = open_encoder(opened)
    runner = OrtRunner(graph, provider=provider, threads=threads)
    return Predictor(runner, encoder, label_space(opened), via="kd_deploy.runtime", heads=heads).task(task)


def open_encoder(bundle: Bundle) -> Encoder:
    """The encoder of a bundle: its tokenizer, its length limit, its way to pad."""
    config = json.loads(bundle.file("config.json").read_text(encoding="utf-8"))
    pad_id = config.get("pad_token_id")
    if not isinstance(pad_id, int):
        raise BundleError(f"{bundle.path / 'config.json'} names no pad_token_id", hint="make the bundle again")
    return Encoder.from_file(
        bundle.file("tokenizer.json"),
        max_length=bundle.manifest.max_length,
        pad_id=pad_id,
        padding_side=bundle.manifest.padding_side,
    )


def label_space(bundle: Bundle) -> LabelSpace:
    """The classes of a bundle's main task, in the order of its logits."""
    return LabelSpace(names=bundle.manifest.labels, problem_type=bundle.manifest.problem_type)


def heads_of(bundle: Bundle) -> dict[str, Head]:
    """All tasks of a bundle, the main one first."""
    tasks = bundle.manifest.tasks.items()
    further = {name: LabelSpace(names=one.labels, problem_type=one.problem_type) for name, one in tasks}
    return lay_out(label_space(bundle), further)


def _check(inputs: Sequence[TextInput]) -> None:
    if isinstance(inputs, str):
        raise UsageError("predict takes a list of texts, not one text", hint="write predict([text])")
    for position, one in enumerate(inputs):
        pair = isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one)  # noqa: PLR2004
        if not isinstance(one, str) and not pair:
            raise UsageError(
                f"input {position} is {type(one).__name__}, not a text or a pair of texts",
                hint="give str, or (str, str) for a pair",
            )
