"""The content of bundle.json: what a bundle is, where it comes from, and every file in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kd_deploy.generation import Generation

TaskName = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "sentence-similarity",
    "sentence-embedding",
    "fill-mask",
    "text2text",
    "text-generation",
]


def _inside(name: str) -> str:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} is not inside the bundle")
    return name


class Part(BaseModel):
    """The rules of every part of the manifest."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FileRecord(Part):
    """What a file must be."""

    sha256: str
    size_bytes: int


class KeptInFp32(Part):
    """Operators that were not quantised, and why."""

    operator: str
    count: int
    why: str


class ParityRecord(Part):
    """How far two forms of one model were apart over the shapes and paddings that were tried."""

    against: str
    cases: int
    max_abs_error: float
    worst_case: str


class GraphRecord(Part):
    """One ONNX file: how it was made and what it was found to be worth."""

    precision: str
    opset: int
    ir_version: int
    backend: str
    quantized_operators: dict[str, int] = {}
    kept_in_fp32: tuple[KeptInFp32, ...] = ()
    reduce_range: bool = False
    steps: tuple[str, ...] = ()
    parity: ParityRecord
    metric: float | None = None
    metric_drop: float | None = None
    task_drops: dict[str, float] = {}
    batch_sensitivity: float | None = None
    parts: tuple[str, ...] = ("model",)
    greedy_identical: float | None = None


class Lineage(Part):
    """Where the model comes from."""

    teacher: str | None = None
    teacher_sha256: str | None = None
    data_sha256: str | None = None
    recipe_sha256: str | None = None
    seed: int | None = None
    objective: tuple[str, ...] = ()
    versions: dict[str, str] = {}


class TeacherRecord(Part):
    """What one of several teachers, or all together, is worth on validation."""

    name: str
    score: float


class RoundRecord(Part):
    """How many texts the teacher had been asked about after a round, and the student's score on validation then."""

    asked: int
    score: float


class TrainingRecord(Part):
    """What a student learned from in a stage: rows, teachers' answers, vocabulary, layers.

    `made` of the texts without labels were made of others (`augment`). `asked` counts the different texts that the
    teacher was asked about, each piece of those that are read in pieces, `computed` those that no cache held; `counted`
    are the texts on which the teacher counts, None where it does on all.
    `texts_unchanged` is the share of the training texts that a smaller vocabulary leaves as they were,
    `new_texts_unchanged` that of validation, which has `new_tokens` more tokens, as a share, and `new_unknown` of them
    unknown; `likeness` is the CKA of each student layer with each teacher layer, where `layers: auto` asked for it.
    """

    labelled: int
    unlabelled: int = 0
    made: int = 0
    taking_part: int
    asked: int = 0
    computed: int = 0
    counted: int | None = None
    vocabulary: int | None = None
    vocabulary_before: int | None = None
    texts_unchanged: float | None = None
    new_texts_unchanged: float | None = None
    new_tokens: float | None = None
    new_unknown: float | None = None
    layer_map: tuple[tuple[int, int], ...] | None = None
    likeness: tuple[tuple[float, ...], ...] | None = None
    teachers: tuple[TeacherRecord, ...] = ()
    rounds: tuple[RoundRecord, ...] = ()


ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


class TaskRecord(Part):
    """A further task of the same model: its classes, where its logits come out, and whom it was learned from."""

    labels: tuple[str, ...]
    problem_type: ProblemType
    output: str
    teacher: str | None = None
    data_sha256: str | None = None
    metrics: dict[str, float] = {}
    training: tuple[TrainingRecord, ...] = ()


class Manifest(Part):
    """The content of bundle.json; labels, metrics and training are those of the main task."""

    schema_version: Literal[1] = 1
    created: str
    kd_deploy: str
    task: TaskName
    architecture: str
    labels: tuple[str, ...]
    problem_type: ProblemType
    tasks: dict[str, TaskRecord] = {}
    max_length: Annotated[int, Field(ge=1)]
    generation: Generation | None = None
    padding_side: Literal["left", "right"] = "right"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("logits",)
    parameters: int
    lineage: Lineage = Lineage()
    metrics: dict[str, float] = {}
    training: tuple[TrainingRecord, ...] = ()
    graphs: dict[str, GraphRecord] = {}
    files: dict[Annotated[str, AfterValidator(_inside)], FileRecord] = {}


def told(records: tuple[TrainingRecord, ...], *, plain: bool = False) -> tuple[str, ...]:
    """What a student learned from, stage after stage, as sentences; `plain`: the task has no labels."""
    stages = [tuple(_told(record, plain=plain)) for record in records]
    if len(stages) == 1:
        return stages[0]
    return tuple(f"Stage {number}: {one}" for number, sentences in enumerate(stages, start=1) for one in sentences)


def _told(record: TrainingRecord, *, plain: bool) -> Iterator[str]:
    found = record.unlabelled - record.made
    texts = f"It learned from {record.labelled} texts with labels and {found} without"
    if plain:
        texts = f"It learned from {record.labelled + found} texts"
    if record.made:
        texts += f", and {record.made} made of them"
    left_out = record.labelled + record.unlabelled - record.taking_part
    kept = record.asked - record.computed
    asked = f"the teacher answered {record.asked} texts or pieces, {kept} of them from the cache"
    counted = "" if record.counted is None else f" and counted on {record.counted} texts"
    yield f"{texts}{f', {left_out} of which were left out' if left_out else ''}; {asked}{counted}."
    if record.teachers:
        yield f"Teachers on validation: {', '.join(f'{one.name} {one.score:.4f}' for one in record.teachers)}."
    if record.rounds:
        bought = "; ".join(f"after {one.asked} texts {one.score:.4f}" for one in record.rounds)
        yield f"It chose what to ask the teacher; on validation, {bought}. It is the student of the last round."
    yield from _of_vocabulary(record)
    if record.layer_map is not None and record.likeness is not None:
        pairs = ", ".join(f"{low} learns from {high}" for low, high in record.layer_map)
        rows = "; ".join(f"{k}: {' '.join(f'{x:.2f}' for x in row)}" for k, row in enumerate(record.likeness))
        yield f"Layers by likeness: {pairs}. Linear CKA with each teacher layer, by student layer: {rows}."


def _of_vocabulary(record: TrainingRecord) -> Iterator[str]:
    if record.vocabulary is not None and record.texts_unchanged is not None:
        yield (
            f"It keeps {record.vocabulary} of {record.vocabulary_before} vocabulary entries; "
            f"{record.texts_unchanged:.1%} of its training texts fall into the same tokens as before."
        )
    if record.new_texts_unchanged is not None and record.new_tokens is not None and record.new_unknown is not None:
        yield (
            f"Of the validation texts {record.new_texts_unchanged:.1%} fall into the same tokens as before; together "
            f"they have {record.new_tokens:+.1%} tokens, {record.new_unknown:.2%} of them unknown."
        )
