"""The teacher of a recipe as a bundle: fine-tuned, trained from scratch, or as it is."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.distill import processes
from kd_deploy.distill.adopt import check_fits, require_same_kind
from kd_deploy.distill.bundling import Outcome
from kd_deploy.distill.checkpoints import find_model, load_model
from kd_deploy.distill.conditional_mlm import open_teacher
from kd_deploy.distill.job import Job
from kd_deploy.distill.judging import evaluate_model
from kd_deploy.distill.narrowed import Tokenizing
from kd_deploy.distill.precision import usual_device
from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.distill.scratch_writers import write_scratch_writer
from kd_deploy.distill.students.build import FRESH_RATE
from kd_deploy.distill.teaching import untaught
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.distill.worth import tell_of_a_guesser
from kd_deploy.errors import RecipeError
from kd_deploy.generation import Generation
from kd_deploy.machine import installed_versions
from kd_deploy.manifest import Lineage
from kd_deploy.recipe import Teacher
from kd_deploy.tasks.registry import writes
from kd_deploy.tasks.task import Examples


def make_teacher(job: Job, output: Path) -> Bundle:
    """Write the recipe's teacher as a bundle, the first where there are several.

    For a teacher on a server: what the student starts from.

    Raises:
        TrainingError: Training cannot go on.
        BundleError: The checkpoint cannot be opened.
        RecipeError: The recipe asks for what the checkpoint does not have.
    """
    teacher = job.recipe.teacher
    if teacher is None:
        raise RecipeError("teacher: missing", hint="name a checkpoint in teacher.model")
    source = _source(job, teacher)
    check_fits(source, max_length=job.max_length)
    name = teacher.first or "trained from scratch"
    torch.manual_seed(teacher.finetune.seed if teacher.finetune else 0)  # a new head is drawn
    if teacher.endpoint is not None:
        model, lineage = load_model(source, labels=job.labels), Lineage(teacher=name, versions=installed_versions())
        return job.write(model, output, tokenizer=source, lineage=lineage, outcome=Outcome(metrics={}))
    if teacher.finetune is None:
        return _as_it_is(job, teacher, source, output=output)
    settings = teacher.finetune
    if teacher.scratch is not None and settings.learning_rate is None:
        settings = settings.model_copy(update={"learning_rate": FRESH_RATE})
    model = open_teacher(source, job.labels, new_head=True)
    teaching = untaught(job.splits, Tokenizing(folder=source), max_length=job.max_length)
    metrics = job.train(model, teaching, settings, what="teacher")
    _warn(metrics, job.splits.validation)
    lineage = job.lineage(teacher=None, name=name, settings=settings, terms=("hard_labels",))
    outcome, generation = Outcome(metrics=metrics), _way_to_write(teacher, source)
    return job.write(model, output, tokenizer=source, lineage=lineage, outcome=outcome, generation=generation)


def _source(job: Job, teacher: Teacher) -> Path:
    if teacher.first is not None:
        return find_model(teacher.first)
    assert teacher.scratch is not None  # noqa: S101 - the recipe has one of the two
    folder = job.work / processes.own("scratch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seed = teacher.finetune.seed if teacher.finetune else 0
    train = job.splits.train
    if writes(job.labels):
        texts = [str(one) for one in (*train.inputs, *train.targets) if one]  # of text2text the targets are texts too
        task = job.labels.task
        write_scratch_writer(folder, teacher.scratch, task=task, texts=texts, max_length=job.max_length, seed=seed)
    else:
        write_scratch_model(
            folder, teacher.scratch, inputs=train.inputs, labels=job.labels, max_length=job.max_length, seed=seed
        )
    return folder


def _way_to_write(teacher: Teacher, source: Path) -> Generation | None:
    own = Bundle.open(source).manifest.generation if (source / MANIFEST).is_file() else None
    return teacher.generation or own


def _warn(metrics: Mapping[str, float], validation: Examples) -> None:
    if "accuracy" in metrics and not validation.labels.is_multi:
        tell_of_a_guesser(metrics["accuracy"], validation.targets, rows="validation")


def _as_it_is(job: Job, teacher: Teacher, source: Path, *, output: Path) -> Bundle:
    require_same_kind(source, job.labels, rows=job.splits.train.source)
    model = open_teacher(source, job.labels)
    data = job.judged(encoder=open_encoder(source, max_length=job.max_length))
    judged = data.examples.answered
    metrics = evaluate_model(model.to(usual_device()), data, number_format="fp32") if judged else {}
    model.cpu()
    if not teacher.several:  # what they are worth together is told once all are open
        _warn(metrics, job.splits.validation)
    lineage = Lineage(teacher=teacher.first, versions=installed_versions())
    outcome, generation = Outcome(metrics=metrics), _way_to_write(teacher, source)
    return job.write(model, output, tokenizer=source, lineage=lineage, outcome=outcome, generation=generation)
