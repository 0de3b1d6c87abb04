"""The three trainings: a teacher on labels, a student on its teacher, and the control on labels alone."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import AutoConfig

from kd_deploy import progress
from kd_deploy.bundle import Bundle, Lineage
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill import processes
from kd_deploy.distill.adopt import check_fits, require_same_kind
from kd_deploy.distill.bundling import write_bundle
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model
from kd_deploy.distill.objectives import Objective
from kd_deploy.distill.objectives.objective import LABELS_ALONE
from kd_deploy.distill.scratch import scratch_config, write_scratch_model
from kd_deploy.distill.signals import cache_folder, teacher_signals
from kd_deploy.distill.students.bilstm import MODEL_TYPE
from kd_deploy.distill.students.build import build_student, check_student
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.distill.trainer import TrainingData, evaluate_model, train
from kd_deploy.errors import DataError, RecipeError
from kd_deploy.files import sha256_file, sha256_text
from kd_deploy.machine import installed_versions
from kd_deploy.recipe import Recipe, Teacher, Training
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.text_classification import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every training of a recipe shares."""

    recipe: Recipe
    splits: Splits
    work: Path

    @property
    def max_length(self) -> int:
        """Tokens; longer inputs are cut."""
        return self.recipe.data.max_length

    @property
    def labels(self) -> LabelSpace:
        """The classes, in the order of the logits."""
        return self.splits.labels

    def lineage(self, *, teacher: Path | None, name: str | None, settings: Training, terms: tuple[str, ...]) -> Lineage:
        """Where a model of this job comes from."""
        return Lineage(
            teacher=name,
            teacher_sha256=sha256_file(teacher / "model.safetensors") if teacher else None,
            data_sha256=self.splits.train.sha256,
            recipe_sha256=sha256_text(self.recipe.to_yaml()),
            seed=settings.seed,
            objective=terms,
            versions=installed_versions(),
        )


def teacher_labels(teacher: Teacher) -> tuple[str, ...]:
    """The classes that a recipe's teacher knows already; empty where it is to be fine-tuned.

    Raises:
        RecipeError: The teacher is to be used as it is, and is no classifier.
    """
    if teacher.finetune is not None or teacher.model is None:
        return ()
    labels = labels_of(find_model(teacher.model))
    if labels is None:
        raise RecipeError(
            f"teacher.model {teacher.model} has no classification head",
            hint="add teacher.finetune to the recipe, to train one on your labels",
        )
    return labels.names


def check_recipe(recipe: Recipe) -> None:
    """Refuse a student that does not fit the teacher, from their sizes alone.

    Raises:
        RecipeError: Layers or widths that do not fit.
    """
    teacher = recipe.teacher
    if teacher is None:
        return
    if teacher.scratch is not None:
        config = scratch_config(
            teacher.scratch, vocabulary=teacher.scratch.vocabulary, max_length=recipe.data.max_length
        )
        check_student(recipe.student, config)
        return
    folder = find_model(str(teacher.model))
    if check_checkpoint(folder).get("model_type") != MODEL_TYPE:
        check_student(recipe.student, AutoConfig.from_pretrained(folder, local_files_only=True))


def make_teacher(job: Job, output: Path) -> Bundle:
    """Write the recipe's teacher as a bundle: fine-tuned, trained from scratch, or as it is.

    Raises:
        TrainingError: Training cannot go on.
        BundleError: The checkpoint cannot be opened.
        RecipeError: The recipe asks for what the checkpoint does not have.
    """
    teacher = job.recipe.teacher
    if teacher is None:
        raise RecipeError("teacher: missing", hint="name a checkpoint in teacher.model")
    source = _teacher_source(job, teacher)
    check_fits(source, max_length=job.max_length)
    name = teacher.model or "trained from scratch"
    if teacher.finetune is None:
        return _adopt(job, source, output, name=name)
    model = load_model(source, labels=job.labels)
    metrics = _train(job, model, source, objective=Objective(LABELS_ALONE), settings=teacher.finetune, what="teacher")
    lineage = job.lineage(teacher=None, name=name, settings=teacher.finetune, terms=("hard_labels",))
    return _write(job, model, source, output, lineage=lineage, metrics=metrics)


def distill_student(job: Job, teacher: Bundle, output: Path, *, control: bool = False) -> Bundle:
    """Train the recipe's student on its teacher, or, as the control, on labels alone.

    Both start from the same weights and see the same rows for the same number of epochs.

    Raises:
        TrainingError: Training cannot go on.
        RecipeError: The student's sizes do not fit the teacher.
        DataError: The teacher's classes are not those of the data.
    """
    settings = job.recipe.distill
    if teacher.manifest.labels != job.labels.names:
        raise DataError(
            f"the teacher's classes are {list(teacher.manifest.labels)}, the data's {list(job.labels.names)}",
            hint="rename the labels to the teacher's, or add teacher.finetune",
        )
    teacher_model = load_model(teacher.path)
    student = build_student(
        job.recipe.student, teacher=teacher_model, teacher_folder=teacher.path, labels=job.labels, seed=settings.seed
    )
    objective = Objective(LABELS_ALONE if control else settings.objective)
    name = "control" if control else "student"
    metrics = _train(
        job, student, teacher.path, objective=objective, settings=settings, what=name, teacher=teacher_model
    )
    terms = tuple(_describe(term) for term in objective.terms)
    lineage = job.lineage(
        teacher=None if control else teacher.path,
        name=None if control else teacher.manifest.lineage.teacher,
        settings=settings,
        terms=terms,
    )
    return _write(job, student, teacher.path, output, lineage=lineage, metrics=metrics)


def _teacher_source(job: Job, teacher: Teacher) -> Path:
    if teacher.model is not None:
        return find_model(teacher.model)
    assert teacher.scratch is not None  # noqa: S101 - the recipe has one of the two
    folder = job.work / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seed = teacher.finetune.seed if teacher.finetune else 0
    write_scratch_model(
        folder,
        teacher.scratch,
        inputs=job.splits.train.inputs,
        labels=job.labels,
        max_length=job.max_length,
        seed=seed,
    )
    return folder


def _adopt(job: Job, source: Path, output: Path, *, name: str) -> Bundle:
    require_same_kind(source, job.labels, rows=job.splits.train.source)
    model = load_model(source)
    data = TrainingData(examples=job.splits.validation, encoder=open_encoder(source, max_length=job.max_length))
    metrics = evaluate_model(model, data, number_format="fp32")
    lineage = Lineage(teacher=name, versions=installed_versions())
    return _write(job, model, source, output, lineage=lineage, metrics=metrics)


def _train(
    job: Job,
    model: nn.Module,
    source: Path,
    *,
    objective: Objective,
    settings: Training,
    what: str,
    teacher: nn.Module | None = None,
) -> dict[str, float]:
    encoder = open_encoder(source, max_length=job.max_length)
    logits = None
    if objective.needs_teacher and teacher is not None:
        inputs = job.splits.train.inputs
        signals = teacher_signals(teacher, source, inputs, max_length=job.max_length, cache=cache_folder())
        progress.say(f"teacher signals: {signals.computed} computed, {signals.reused} from the cache")
        logits = signals.logits
    work = job.work / what
    metrics = train(
        model,
        objective=objective,
        data=TrainingData(examples=job.splits.train, encoder=encoder, teacher_logits=logits),
        validation=TrainingData(examples=job.splits.validation, encoder=encoder),
        settings=settings,
        work=work,
        description=what,
    )
    processes.wait()  # the last one may still be reading the best checkpoint
    shutil.rmtree(work, ignore_errors=True)
    return metrics


def _write(
    job: Job, model: nn.Module, source: Path, output: Path, *, lineage: Lineage, metrics: dict[str, float]
) -> Bundle:
    limit = job.max_length
    return write_bundle(
        output, model, labels=job.labels, max_length=limit, tokenizer_from=source, lineage=lineage, metrics=metrics
    )


def _describe(term: object) -> str:
    fields = {key: value for key, value in vars(term).items() if key != "term"}
    return f"{vars(term)['term']}({', '.join(f'{key}={value}' for key, value in fields.items())})"
