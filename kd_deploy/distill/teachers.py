"""Who teaches: one teacher, or several whose answers are fused; for text-level answers they may be any classifiers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from kd_deploy import progress
from kd_deploy.bundle import Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model
from kd_deploy.distill.conditional_mlm import open_teacher
from kd_deploy.distill.endpoint import RemoteTeacher, check_endpoint
from kd_deploy.distill.fusion import Fusion, fuse, mean_of
from kd_deploy.distill.signals import LOGITS, Signals, cache_folder, teacher_signals
from kd_deploy.distill.worth import tell_of_a_guesser
from kd_deploy.errors import DataError
from kd_deploy.manifest import TeacherRecord
from kd_deploy.recipe import Teacher
from kd_deploy.tasks.encoding import Encoded, TextInput
from kd_deploy.tasks.pieces import whole
from kd_deploy.tasks.registry import main_metric, scores, task_of
from kd_deploy.tasks.task import Classes, Examples, LabelSpace, Prediction, Reading
from kd_deploy.tasks.text_classification import indicator


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One of several teachers; `columns` are the places of our classes among its own."""

    name: str
    folder: Path
    weight: float
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """The first teacher, which shows its layers and gives its tokens, and all that answer with it.

    `voices` are empty where the first answers alone; else it is the first of them. `class_scores` [voices, C]
    say how well each tells each class; `record` what each is worth on validation. `remote` answers in place of
    all of them, from its server.
    """

    model: nn.Module
    folder: Path
    max_length: int
    labels: LabelSpace
    voices: tuple[Voice, ...] = ()
    how: Fusion = "weights"
    class_scores: NDArray[np.float64] | None = None
    record: tuple[TeacherRecord, ...] = ()
    remote: RemoteTeacher | None = None

    @property
    def name(self) -> str:
        """Who answers, where it is not the first one alone; else empty."""
        return self.remote.name if self.remote else ", ".join(voice.name for voice in self.voices)

    def signals(self, inputs: Sequence[TextInput], *, names: Collection[str]) -> Signals:
        """What the first one shows of the inputs, its logits those of all teachers together."""
        with processes.first_ahead():
            if self.remote is None:
                return self._local(inputs, names)
            heard = self.remote.logits(inputs)
        processes.require_alike(int(heard.answered.sum()), what="the server's answers")
        return Signals(
            rows={LOGITS: list(heard.logits)},
            computed=heard.computed,
            reused=heard.reused,
            answered=None if heard.answered.all() else heard.answered,
        )

    def _local(self, inputs: Sequence[TextInput], names: Collection[str]) -> Signals:
        found = teacher_signals(
            self.model,
            self.folder,
            inputs,
            names=names,
            of_tokens=task_of(self.labels).LEVEL != "text",
            max_length=self.max_length,
            cache=cache_folder(),
        )
        if not self.voices or LOGITS not in names:
            return found
        heard = [_heard(voice, inputs, max_length=self.max_length) for voice in self.voices[1:]]
        first = found.logits[:, self.voices[0].columns]
        most = max(one.computed for one in (found, *heard))  # all are asked about the same texts
        fused = self.together([first, *(one.logits for one in heard)])
        return replace(
            found,
            rows={**found.rows, LOGITS: list(fused)},
            computed=most,
            reused=found.computed + found.reused - most,
        )

    def together(self, heard: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The answers of all voices, [N, C] each, as those of one."""
        weights = [voice.weight for voice in self.voices]
        if task_of(self.labels).ANSWERS != "classes":
            return mean_of(heard, weights=weights)
        multi = self.labels.is_multi
        return fuse(heard, weights=weights, how=self.how, class_scores=self.class_scores, multi=multi)


def open_teachers(settings: Teacher | None, first: Bundle, *, validation: Examples, max_length: int) -> Teachers:
    """The teachers of a recipe, each judged on validation where there are several.

    Args:
        settings: The section of the recipe; None where the teacher was given otherwise.
        first: The bundle of the only or the first one.
        validation: Rows with labels.
        max_length: Tokens.

    Raises:
        DataError: A teacher whose classes are not those of the data.
        RecipeError: A way to ask a server that cannot say several classes of a text.
        BundleError: One that does not open.
    """
    labels = validation.labels
    alone = Teachers(model=open_teacher(first.path, labels), folder=first.path, max_length=max_length, labels=labels)
    if settings and settings.endpoint:
        check_endpoint(settings.endpoint, labels)
        return replace(alone, remote=RemoteTeacher(settings.endpoint, labels=labels.names, cache=cache_folder()))
    several = settings.several if settings else ()
    if not several:
        return alone
    folders = [first.path, *(find_model(one.model) for one in several[1:])]
    voices = tuple(
        Voice(name=one.model, folder=folder, weight=one.weight, columns=_columns(folder, labels, name=one.model))
        for one, folder in zip(several, folders, strict=True)
    )
    with processes.first_ahead():
        heard = [_heard(voice, validation.inputs, max_length=max_length).logits for voice in voices]
    given = [_predictions(one, validation) for one in heard]
    assert settings is not None  # noqa: S101 - several come from it
    together = replace(alone, voices=voices, how=settings.fuse)
    if task_of(labels).ANSWERS == "classes":
        right = cast("Sequence[Classes]", validation.targets)
        worth = [class_f1(cast("Sequence[Classes]", one), right, count=len(labels.names)) for one in given]
        together = replace(together, class_scores=np.stack(worth))
    names = [*(voice.name for voice in voices), f"all, fused by {settings.fuse}"]
    answers = [*given, _predictions(together.together(heard), validation)]
    record = tuple(
        TeacherRecord(name=name, score=scores(one, validation)[main_metric(validation)])
        for name, one in zip(names, answers, strict=True)
    )
    for one in record:
        progress.say(f"teacher {one.name}: validation {main_metric(validation)} {one.score:.4f}")
    _tell_of_the_best(record, validation)
    return replace(together, record=record)


def _tell_of_the_best(record: Sequence[TeacherRecord], validation: Examples) -> None:
    """Say so where all teachers together, the last, are worth no more than one of them, or than a guess."""
    best, together = max(record[:-1], key=lambda one: one.score), record[-1]
    if together.score <= best.score:
        progress.say(f"together they are no better than {best.name} alone: see what a student learns from that one")
    if main_metric(validation) == "accuracy":
        tell_of_a_guesser(together.score, validation.targets, rows="validation")


def _predictions(logits: NDArray[np.float32], examples: Examples) -> tuple[Prediction, ...]:
    """What is scored of logits [N, C], a row for each example."""
    pieces = whole(examples.inputs)
    readings = [[Reading(piece, Encoded([], []), row)] for piece, row in zip(pieces, logits, strict=True)]
    return task_of(examples.labels).predictions(readings, examples)


def class_f1(predicted: Sequence[Classes], actual: Sequence[Classes], *, count: int) -> NDArray[np.float64]:
    """F1 of each class, [count], 0 to 1; 0 for one that occurs nowhere."""
    found = np.stack([indicator(rows, count) for rows in (predicted, actual)])  # [2, N, C]
    hits, total = (found[0] & found[1]).sum(axis=0), found.sum(axis=(0, 1))
    return np.asarray(2 * hits / np.maximum(total, 1))


def _heard(voice: Voice, inputs: Sequence[TextInput], *, max_length: int) -> Signals:
    """The logits of one teacher, in the order of our classes."""
    found = teacher_signals(
        load_model(voice.folder), voice.folder, inputs, names=(LOGITS,), max_length=max_length, cache=cache_folder()
    )
    return replace(found, rows={LOGITS: list(found.logits[:, voice.columns])})


def _columns(folder: Path, labels: LabelSpace, *, name: str) -> tuple[int, ...]:
    own = labels_of(folder)
    if own is None or own.task != labels.task:
        raise DataError(f"the teacher {name} has no head for {labels.task}", hint="kd-deploy finetune gives it one")
    if set(own.names) != set(labels.names) or own.problem_type != labels.problem_type:
        raise DataError(
            f"the teacher {name} has the classes {list(own.names)}, the data {list(labels.names)}",
            hint="teachers that answer together must know the same classes",
        )
    return tuple(own.names.index(one) for one in labels.names)
