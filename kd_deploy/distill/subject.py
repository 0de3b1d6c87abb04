"""One task of a student: its rows, who teaches it, and what of its stages can be known to fail."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kd_deploy.bundle import Bundle
from kd_deploy.distill.conditional_mlm import ConditionalMaskedLM
from kd_deploy.distill.narrowed import Tokenizing
from kd_deploy.distill.observe import shape_of
from kd_deploy.distill.stage import check_stage
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.terms import Ground, MakeTerm, build_objective
from kd_deploy.distill.terms.ground import ITS_OWN, WHOLE
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Distill
from kd_deploy.tasks.registry import main_metric, task_of
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.task import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One task of the student: its rows, who teaches it, and the student's tokenizer beside that teacher's.

    `terms` are terms from Python, besides those of the recipe.
    """

    splits: Splits
    teachers: Teachers
    tokens: Tokenizing
    teacher: Bundle
    terms: Sequence[MakeTerm] = ()

    @property
    def taught_by(self) -> str | None:
        """Who teaches, by name."""
        return self.teachers.name or self.teacher.manifest.lineage.teacher


def ground_of(
    student: nn.Module, teachers: Teachers, *, labels: LabelSpace, settings: Distill, tokens: Tokenizing
) -> Ground:
    """What the terms of a stage stand on: both models, the task, and whether their tokens are the same."""
    return Ground(
        student=shape_of(student),
        teacher=shape_of(teachers.model),
        level=task_of(labels).LEVEL,
        answers=task_of(labels).ANSWERS,
        several=labels.is_multi,
        classes=len(labels.names),
        # Texts that are made up bring words of the teacher's vocabulary that a smaller one may not have.
        same_tokens=tokens.same_tokens and not (settings.augment and tokens.kept is not None),
        remedy=ITS_OWN if tokens.own else WHOLE,
        answers_only=teachers.remote is not None or isinstance(teachers.model, ConditionalMaskedLM),
    )


def require_fitting(student: nn.Module, subject: Subject, stages: Sequence[Distill]) -> None:
    """Refuse a term of any stage that does not fit the models, or the stage, before the first is trained.

    Raises:
        RecipeError: Naming the term, and what would fit.
    """
    for settings in stages:
        ground = ground_of(
            student, subject.teachers, labels=subject.splits.labels, settings=settings, tokens=subject.tokens
        )
        with torch.random.fork_rng(devices=()):
            objective = build_objective(settings.objective, ground, own=subject.terms)
        check_stage(settings, objective, max_length=subject.teachers.max_length)


def require_comparable(student: nn.Module, subject: Subject) -> None:
    """Refuse vectors of another width than the teacher's where nothing but the teacher's could judge them."""
    judged = (subject.splits.validation, subject.splits.test)
    alone = next((one for one in judged if one and main_metric(one) == "cosine"), None)
    if alone is None:
        return
    own, wanted = (shape_of(model).vector_width for model in (student, subject.teachers.model))
    if own != wanted:
        raise RecipeError(
            f"{alone.source} has no scores, and the student's vectors of {own} numbers cannot be compared with the "
            f"teacher's of {wanted}",
            hint="leave the student's width out, or give data.validation and data.test with text, text_pair and score",
        )
