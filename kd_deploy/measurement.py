"""What we saw: quality, time, memory, size of every target. Units are in the names; raw samples are kept."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kd_deploy.manifest import ProblemType

# What a model answered, as it is kept: class ids, a number, a text, numbers, texts.
Prediction = tuple[int, ...] | float | str | tuple[float, ...] | tuple[str, ...]
Role = Literal["teacher", "student", "control"]
LOWER_IS_BETTER = frozenset({"perplexity"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the versions that a measurement was taken with."""

    cpu: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    platform: str
    python: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Raw times of one repeated action; every percentile is derived from them on demand."""

    samples_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.samples_ms:
            raise ValueError("a timing needs at least one sample")

    @property
    def n(self) -> int:
        """How many times the action was timed."""
        return len(self.samples_ms)

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile, q in [0, 100], interpolated between samples."""
        return float(np.percentile(self.samples_ms, q))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Forward passes of the bare model over one fixed shape.

    A shape that the model cannot take has no timing, and `reason` says why.
    """

    batch_size: int
    sequence_length: int
    timing: Timing | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """From a text to its answer, one text at a time, over real texts; `tokens` were written in all that time."""

    via: str
    timing: Timing
    tokens: int | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """Over all texts together; None for a model that writes none."""
        return None if self.tokens is None else 1e3 * self.tokens / sum(self.timing.samples_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Texts answered in a second over the real mix of lengths, one sample a round.

    `batch_size` is None where the answerer makes batches of like length, of as many texts as fit.
    """

    batch_size: int | None
    samples_texts_per_s: tuple[float, ...]

    @property
    def texts_per_s(self) -> float:
        """The median over rounds: one slow round must not move it."""
        return float(np.median(self.samples_texts_per_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of the target's own process: before it imported anything, and at its peak."""

    baseline_rss_bytes: int
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The way from a bare process to the first answer."""

    import_ms: float
    load_ms: float
    first_answer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetName:
    """Which model, in which form: what a row of every table is about."""

    name: str
    role: Role
    runtime: Literal["torch", "onnxruntime", "server"]
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Time, memory and size of one target on one provider with one number of threads.

    A part that could not be measured is None, and `reason` says why.
    """

    target: TargetName
    provider: str
    threads: int
    size_bytes: int
    parameters: int | None = None
    latency: tuple[Latency, ...] = ()
    end_to_end: EndToEnd | None = None
    throughput: Throughput | None = None
    memory: Memory | None = None
    start: Start | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUsed:
    """Which rows a number was computed on; `guess` is the accuracy of always saying their commonest class."""

    name: str
    split: str
    n: int
    sha256: str
    guess: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One target's answers to every row of a data set, and what they are worth.

    A metric is None where it is no finite number, such as a perplexity beyond all floats. `samples` are what a target
    that writes wrote for the first of the evaluation's `samples`.
    """

    target: TargetName
    quality: dict[str, float | None]
    agreement: float | None
    predictions: tuple[Prediction, ...]
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The answers of several targets to the same rows, each an answer of `task` over the classes `labels`.

    `further` are those to other tasks of one student, by name; `samples` are a few inputs of a task that writes.
    """

    task: str
    main_metric: str
    data: DataUsed
    references: tuple[Prediction, ...]
    labels: tuple[str, ...]
    problem_type: ProblemType
    targets: tuple[Evaluated, ...]
    further: dict[str, "Evaluation"] = field(default_factory=dict)
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarked:
    """Time and memory of several targets, taken in interleaved rounds of one run."""

    environment: Environment
    command: str
    created: str
    targets: tuple[Measured, ...] = field(default=())
    task: str = "text-classification"  # what earlier files are taken for


def worth(metric: str, value: float) -> float:
    """A score where more is better and differences add up: minus the logarithm of a perplexity, others as they are.

    A difference of perplexities is then one of nats a token: 0.01 is about a per cent.
    """
    return -float(np.log(value)) if metric in LOWER_IS_BETTER else value
