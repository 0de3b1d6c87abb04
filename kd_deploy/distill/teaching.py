"""A student before its teacher: the objective fitted to both, and where the teacher's signals come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.distill.layer_map import best_map
from kd_deploy.distill.likeness import layer_likeness
from kd_deploy.distill.narrowed import Tokenizing
from kd_deploy.distill.observe import shape_of
from kd_deploy.distill.precision import choose_format
from kd_deploy.distill.room import fits
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.signals import LOGITS, LiveTeacher, cache_folder, lacking
from kd_deploy.distill.stage import check_stage
from kd_deploy.distill.subject import ground_of
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.terms import Ground, MakeTerm, Objective, build_objective, labels_alone
from kd_deploy.distill.top_signals import top_signals
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.distill.transfer import transfer_texts
from kd_deploy.distill.weighing import counting, require_rows, tell_of_the_server
from kd_deploy.errors import RecipeError
from kd_deploy.manifest import RoundRecord, TrainingRecord
from kd_deploy.recipe import Distill
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.registry import is_its_own_label, names_tokens
from kd_deploy.tasks.splits import Splits

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """An objective that is ready, the texts it is for, and the teacher's signals: kept, or live.

    `made` of the texts without labels were made of others. `layer_map` and `likeness` say what `layers: auto` found;
    None where no term asked for it.
    """

    objective: Objective
    data: TrainingData
    live: LiveTeacher | None = None
    made: int = 0
    layer_map: tuple[tuple[int, int], ...] | None = None
    likeness: Matrix | None = None

    def record(
        self, tokens: Tokenizing, teachers: Teachers | None = None, *, rounds: tuple[RoundRecord, ...] = ()
    ) -> TrainingRecord:
        """What a bundle says of it."""
        data, signals, coverage, new = self.data, self.data.signals, tokens.coverage, tokens.new
        live = len(set(data.inputs)) if self.live else 0
        return TrainingRecord(
            labelled=len(data.examples),
            unlabelled=len(data.unlabeled),
            made=self.made,
            taking_part=len(data.inputs) if data.rows is None else len(data.rows),
            asked=signals.computed + signals.reused if signals else live,
            computed=signals.computed if signals else live,
            counted=None if data.weights is None else int((data.weights > 0).sum()),
            vocabulary=coverage.entries_after if coverage else None,
            vocabulary_before=coverage.entries_before if coverage else None,
            texts_unchanged=coverage.unchanged_share if coverage else None,
            new_texts_unchanged=new.unchanged_share if new else None,
            new_tokens=new.growth if new else None,
            new_unknown=new.unknown_share if new else None,
            layer_map=self.layer_map,
            likeness=self.likeness,
            teachers=teachers.record if teachers else (),
            rounds=rounds,
        )


def untaught(splits: Splits, tokens: Tokenizing, *, max_length: int, all_texts: bool = False) -> Teaching:
    """Labels alone: what a teacher and a control are trained on.

    Args:
        splits: The rows of the recipe.
        tokens: The tokenizer.
        max_length: Tokens.
        all_texts: Also those of `data.unlabeled`, where a text says by itself what is right: a student has them too.
    """
    encoder = open_encoder(tokens.folder, max_length=max_length)
    further = splits.unlabeled if all_texts and is_its_own_label(splits.labels) else ()
    data = TrainingData(examples=splits.train, encoder=encoder, unlabeled=further)
    return Teaching(objective=labels_alone(), data=data)


def prepare(
    student: nn.Module,
    teachers: Teachers,
    *,
    splits: Splits,
    settings: Distill,
    tokens: Tokenizing,
    own: Sequence[MakeTerm] = (),
) -> Teaching:
    """Fit the objective of a stage to both models, gather the texts, and ask the teachers about them.

    Where the student chooses what to ask (`active`), nothing is asked yet.

    Args:
        student: As it starts, over the entries that `tokens` keeps.
        teachers: Who teaches.
        splits: The rows of the recipe.
        settings: The stage.
        tokens: The student's tokenizer.
        own: Terms from Python, besides those of the recipe.

    Raises:
        RecipeError: A term that does not fit the models, or no texts to learn from.
    """
    theirs = open_encoder(teachers.folder, max_length=teachers.max_length)
    ours = open_encoder(tokens.folder, max_length=teachers.max_length)
    matrix = None
    by_likeness = any(getattr(term, "layers", None) == "auto" for term in settings.objective)
    if by_likeness and shape_of(student).depth and shape_of(teachers.model).depth:  # else the term is refused below
        encoders = (ours, theirs)
        matrix = layer_likeness(
            student, teachers.model, encoders=encoders, inputs=splits.train.inputs, seed=settings.seed
        )
    chosen = best_map(matrix) if matrix is not None else None
    if chosen is not None:
        progress.say(f"layer map by likeness: {', '.join(f'{low} from {high}' for low, high in chosen)}")
    ground = replace(ground_of(student, teachers, labels=splits.labels, settings=settings, tokens=tokens), auto=chosen)
    torch.manual_seed(settings.seed)  # of the projections that terms learn
    objective = build_objective(settings.objective, ground, own=own)
    check_stage(settings, objective, max_length=teachers.max_length)
    labelled = TrainingData(examples=splits.train, encoder=theirs)
    learns_from_all = objective.teacher_names or is_its_own_label(splits.labels)
    data = _texts(splits, settings, teachers=teachers, encoder=theirs) if learns_from_all else labelled
    given = 0 if settings.texts == "labeled" or not learns_from_all else len(splits.unlabeled)
    teaching = Teaching(
        objective=objective,
        data=data,
        made=len(data.unlabeled) - given if settings.augment else 0,
        layer_map=chosen,
        likeness=None if matrix is None else tuple(tuple(float(x) for x in row) for row in np.round(matrix, 4)),
    )
    if settings.active is not None:  # nothing is asked yet
        return replace(teaching, data=replace(teaching.data, encoder=ours))
    return _answered(teaching, teachers, ground, settings=settings, tokens=tokens, encoder=ours)


def _texts(splits: Splits, settings: Distill, *, teachers: Teachers, encoder: Encoder) -> TrainingData:
    """The rows of a stage: those with labels first."""
    texts = transfer_texts(
        splits, settings, teacher=teachers.model, checkpoint=teachers.folder, max_length=teachers.max_length
    )
    examples = splits.train
    if settings.texts == "unlabeled":
        if not texts:
            raise RecipeError(
                "distill.texts: unlabeled, but data.unlabeled has no text that is not in validation or test as well",
                hint="name another file there",
            )
        examples = replace(examples, inputs=(), targets=())
    return TrainingData(examples=examples, encoder=encoder, unlabeled=texts)


def _answered(
    teaching: Teaching, teachers: Teachers, ground: Ground, *, settings: Distill, tokens: Tokenizing, encoder: Encoder
) -> Teaching:
    kept, live = _sources(teaching.objective, ground, teachers, data=teaching.data, settings=settings)
    if live and not tokens.shared:
        raise RecipeError(
            f"distill.cache_gb {settings.cache_gb:g} or the free space of {cache_folder()} is too little for the "
            "teacher's layers, and for a student with another tokenizer they must be kept",
            hint="raise distill.cache_gb or make room there, or give the student the teacher's whole vocabulary",
        )
    data = _signalled(teaching.data, teachers, names=kept, settings=settings)
    teacher, narrow = teachers.model, names_tokens(teaching.data.examples.labels)
    return replace(
        teaching,
        data=replace(data, encoder=encoder),
        live=LiveTeacher(teacher, live, chosen=choose_format("auto", teacher), narrow=narrow) if live else None,
    )


def _sources(
    objective: Objective, ground: Ground, teachers: Teachers, *, data: TrainingData, settings: Distill
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which signals are kept on disk, and which the teacher gives live."""
    names = objective.teacher_names
    if names_tokens(data.examples.labels):
        return (names, ()) if settings.top_k else ((), names)  # all logits of every token would fill any disk
    if not settings.samples.all_count:
        names = tuple(sorted({*names, LOGITS}))
    inner = set(names) - {LOGITS}
    if not inner:
        return names, ()
    texts = list({one.input for one in data.pieces})
    missing = lacking(teachers.model, teachers.folder, texts, names=inner, max_length=teachers.max_length)
    tokens, new = (sum(len(one) for one in data.encoder.encode_all(some)) for some in (texts, missing))
    fit = fits(ground.teacher, names=names, tokens=tokens, new=new, limit_gb=settings.cache_gb, cache=cache_folder())
    if processes.agreed(fit):  # the free space may be another in each of them
        return names, ()
    progress.say(
        f"the teacher's layers for {tokens} tokens do not fit distill.cache_gb {settings.cache_gb:g} or the free space "
        f"of {cache_folder()}: it answers live"
    )
    return tuple({LOGITS} & set(names)), tuple(sorted(inner))


def _signalled(data: TrainingData, teachers: Teachers, *, names: tuple[str, ...], settings: Distill) -> TrainingData:
    """The data with the teachers' signals, and with how much they count on each row."""
    if not names:
        return data
    if settings.top_k:
        signals = top_signals(data, teachers, count=settings.top_k, limit_gb=settings.cache_gb)
    else:
        signals = teachers.signals([one.input for one in data.pieces], names=names)
    progress.say(f"teacher signals: {signals.computed} computed, {signals.reused} from the cache")
    data = replace(data, signals=signals)
    if teachers.remote is not None:
        tell_of_the_server(data.examples, signals)
    if settings.samples.all_count and signals.answered is None:
        return data
    data = counting(data, settings, answered=signals.answered)
    require_rows(data, settings)
    return data
