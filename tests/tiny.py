"""Data sets and models so small that they are made in a second: the cue words give the class away."""

import random
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle
from kd_deploy.distill.bundling import Outcome, write_bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.terms import labels_alone
from kd_deploy.distill.torch_runner import TorchRunner, open_encoder
from kd_deploy.distill.trainer import train
from kd_deploy.export.bundle import export_bundle
from kd_deploy.export.settings import ExportSettings
from kd_deploy.manifest import Lineage
from kd_deploy.recipe import BilstmStudent, ScratchModel, Training
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.task import Examples, LabelSpace

MAX_LENGTH = 24
SIZES = ScratchModel(layers=4, hidden_size=32, attention_heads=4, vocabulary=200)
BILSTM = BilstmStudent(architecture="bilstm", hidden_size=16, head_size=16, dropout=0.1)
SETTINGS = Training(epochs=5, batch_size=16, learning_rate=3e-3, precision="fp32")
FILLERS = ("the", "film", "we", "saw", "was", "a", "long", "story", "of", "people", "in", "town")
CUES = {"bad": ("awful", "dull", "weak"), "good": ("great", "fine", "warm")}
TOPICS = {"food": ("soup", "bread"), "sport": ("goal", "team"), "music": ("song", "choir")}

SINGLE = LabelSpace(names=("bad", "good"), problem_type="single_label_classification")
PAIRED = LabelSpace(names=("other", "same"), problem_type="single_label_classification")
MULTI = LabelSpace(names=tuple(TOPICS), problem_type="multi_label_classification")


def single_label(count: int, *, seed: int) -> Examples:
    """Texts with one cue word among fillers: bad or good."""
    rng = random.Random(seed)
    targets = [row % 2 for row in range(count)]
    texts = [_among_fillers([rng.choice(CUES[SINGLE.names[target]])], rng) for target in targets]
    return examples(texts, [(target,) for target in targets], SINGLE)


def multi_label(count: int, *, seed: int) -> Examples:
    """Texts with a cue word for each of their topics; some have none."""
    rng = random.Random(seed)
    targets = [tuple(k for k in range(len(TOPICS)) if rng.random() < 0.5) for _ in range(count)]
    texts = [_among_fillers([rng.choice(TOPICS[MULTI.names[k]]) for k in ids], rng) for ids in targets]
    return examples(texts, targets, MULTI)


def paired(count: int, *, seed: int) -> Examples:
    """Pairs of a filler text and a cue: the second text alone decides."""
    rng = random.Random(seed)
    targets = [row % 2 for row in range(count)]
    cues = {0: CUES["bad"], 1: CUES["good"]}
    texts = [(_among_fillers([], rng), _among_fillers([rng.choice(cues[target])], rng)) for target in targets]
    return examples(texts, [(target,) for target in targets], PAIRED)


def examples(inputs: Sequence[TextInput], targets: Sequence[tuple[int, ...]], labels: LabelSpace) -> Examples:
    return Examples(inputs=tuple(inputs), targets=tuple(targets), labels=labels, source="tiny.jsonl", sha256="0" * 64)


def write_checkpoint(folder: Path, data: Examples, *, trained: bool = True) -> Path:
    """A BERT of four narrow layers with a vocabulary of its own; untrained, its answers are still apart."""
    folder.mkdir(parents=True)
    write_scratch_model(folder, SIZES, inputs=data.inputs, labels=data.labels, max_length=MAX_LENGTH, seed=0)
    model = load_model(folder)
    if trained:
        learn(model, folder, data, work=folder.parent / "work")
    else:
        model.classifier.weight.data *= 100  # type: ignore[union-attr, operator]
    model.save_pretrained(folder)  # type: ignore[operator]
    return folder


def write_bilstm(output: Path, checkpoint: Path, data: Examples) -> Bundle:
    """The bundle of a trained BiLSTM whose word vectors come from a checkpoint."""
    student = build_student(
        BILSTM, teacher=load_model(checkpoint), teacher_folder=checkpoint, labels=data.labels, seed=0
    )
    learn(student, checkpoint, data, work=output.parent / "work", learning_rate=2e-2)
    return bundle_of(student, output, checkpoint, data.labels)


def learn(model: nn.Module, folder: Path, data: Examples, *, work: Path, learning_rate: float = 3e-3) -> None:
    rows = TrainingData(examples=data, encoder=open_encoder(folder, max_length=MAX_LENGTH))
    settings = SETTINGS.model_copy(update={"learning_rate": learning_rate})
    train(
        model,
        objective=labels_alone(),
        data=rows,
        validation=rows,
        settings=settings,
        work=work,
        description="tiny",
    )


def teachers(checkpoint: Path, labels: LabelSpace) -> Teachers:
    """The one teacher in a folder."""
    return Teachers(model=load_model(checkpoint), folder=checkpoint, max_length=MAX_LENGTH, labels=labels)


def bundle_of(model: nn.Module, output: Path, checkpoint: Path, labels: LabelSpace) -> Bundle:
    return write_bundle(
        output,
        model,
        labels=labels,
        max_length=MAX_LENGTH,
        tokenizer_from=checkpoint,
        lineage=Lineage(teacher="tiny"),
        outcome=Outcome(metrics={"accuracy": 1.0}),
    )


def export(
    bundle: Bundle,
    output: Path,
    *,
    precisions: Sequence[str] = ("fp32", "int8"),
    data: Examples | None = None,
    max_drop: float | None = None,
) -> Bundle:
    model = load_model(bundle.path)
    settings = ExportSettings(precisions=precisions, examples=data, max_accuracy_drop=max_drop)
    return export_bundle(bundle, output, model=model, runner=TorchRunner(model), settings=settings)


def _among_fillers(cues: Sequence[str], rng: random.Random) -> str:
    words = [*cues, *rng.choices(FILLERS, k=rng.randint(1, 10))]
    rng.shuffle(words)
    return " ".join(words)
