"""Terms over logits and labels, made ready from their sections of the recipe."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kd_deploy.distill.objectives import divergences, logits
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.terms.focus import adapted_temperature
from kd_deploy.distill.terms.ground import LOGITS, Ground, focus_of, name_of, teacher_names, unfit, weights_of
from kd_deploy.distill.terms.term import Seen, Term, scheduled
from kd_deploy.recipe import objective as recipe

SOFT = "use soft_targets"
TWO = 2
DIVERGENCES: dict[type[recipe.AnyTerm], Callable[[Any], Callable[..., Tensor]]] = {
    recipe.SoftTargets: lambda _: logits.soft_target_kl,
    recipe.ReverseKl: lambda _: logits.reverse_kl,
    recipe.JensenShannon: lambda term: partial(divergences.jensen_shannon, beta=term.beta),
    recipe.AlphaBeta: lambda term: partial(divergences.alpha_beta, alpha=term.alpha, beta=term.beta),
    recipe.SkewKl: lambda term: partial(divergences.skew_kl, skew=term.skew, direction=term.direction),
    recipe.Decoupled: lambda term: partial(logits.decoupled, alpha=term.alpha, beta=term.beta),
    recipe.Relational: lambda term: partial(divergences.relational, beta=term.beta, gamma=term.gamma),
}


def hard_labels(term: recipe.HardLabels, ground: Ground | None) -> Term:
    """Cross-entropy with the labels, or the squared distance from them where they are numbers.

    Raises:
        RecipeError: There are no labels.
    """
    if ground is not None and ground.answers == "vector":
        raise unfit(term, "needs labels, and vectors have none", hint="use logit_mse")

    def compute(seen: Seen) -> Tensor:
        weights, labelled = focus_of(term, seen), seen.labelled
        if not labelled.all():
            weights = labelled.float() if weights is None else weights * labelled
        known = labelled[:, None] if seen.several else labelled
        targets = torch.where(known, seen.targets, torch.zeros_like(seen.targets))
        return hard_label_loss(seen.student["logits"], targets, smoothing=term.smoothing, weights=weights)

    return Term(name_of(term), weight=term.weight, compute=compute, teacher=teacher_names(term, ()))


def logit_mse(term: recipe.LogitMse, ground: Ground) -> Term:
    """Squared distance of the logits.

    Raises:
        RecipeError: It is to compare z-scores where they say nothing, or the places of spans.
    """
    _check_standardise(term, ground)
    if ground.level == "span":
        raise unfit(term, "compares classes, and a span is a choice among as many places as a text has", hint=SOFT)
    widths = (ground.student.vector_width, ground.teacher.vector_width)
    if ground.answers == "vector" and widths[0] != widths[1]:
        raise unfit(
            term,
            f"needs vectors of one width: the student's have {widths[0]} numbers, the teacher's {widths[1]}",
            hint="leave the student's width out; or use similarity_matrix, and rows with scores to judge by",
        )

    def compute(seen: Seen) -> Tensor:
        student, teacher = seen.compared
        if term.standardise:
            student, teacher = logits.standardise(student), logits.standardise(teacher)
        return logits.logit_mse(student, teacher, weights=weights_of(term, seen))

    return Term(name_of(term), weight=term.weight, compute=compute, teacher=LOGITS)


def softened(term: recipe.Softened, ground: Ground) -> Term:
    """A divergence between softened distributions.

    Raises:
        RecipeError: It needs classes, or one label a text, or three classes, and these are others.
    """
    _check_softened(term, ground)
    _check_standardise(term, ground)
    divergence = DIVERGENCES[type(term)](term)

    def compute(seen: Seen) -> Tensor:
        student, teacher = seen.compared
        temperature: float | Tensor = scheduled(term.temperature, seen.share)
        if term.adapt_temperature:
            temperature = adapted_temperature(teacher, temperature=float(temperature), several=seen.several)
        weights = weights_of(term, seen)
        if term.standardise:
            student, teacher = logits.standardise(student), logits.standardise(teacher)
        if isinstance(term, recipe.Decoupled):
            # A text without a label has the teacher's.
            targets = torch.where(seen.labelled, seen.targets, teacher.argmax(dim=-1))
            return divergence(student, teacher, targets=targets, temperature=temperature, weights=weights)
        if seen.several:
            student, teacher = logits.yes_or_no(student), logits.yes_or_no(teacher)
        return divergence(student, teacher, temperature=temperature, weights=weights)

    return Term(name_of(term), weight=term.weight, compute=compute, teacher=LOGITS)


def _check_softened(term: recipe.Softened, ground: Ground) -> None:
    if ground.answers != "classes":
        raise unfit(term, f"compares classes, and the answer is a {ground.answers}", hint="use logit_mse")
    if ground.level == "span" and isinstance(term, recipe.Relational):
        raise unfit(term, "compares each class over the batch, and places differ from text to text", hint=SOFT)
    if ground.several and isinstance(term, recipe.Decoupled):
        raise unfit(term, "needs one label a text, and these may have several", hint=SOFT)
    if isinstance(term, recipe.Decoupled) and ground.classes == TWO and not term.alpha:
        raise unfit(term, "has alpha 0, and of two classes there is none beside the labelled one", hint=SOFT)


def _check_standardise(term: recipe.Softened | recipe.LogitMse, ground: Ground) -> None:
    single = ground.answers == "number" or ground.level == "span"
    if term.standardise and (ground.several or single or ground.classes == TWO):
        kind = "several labels a text" if ground.several else "such answers" if single else "two classes"
        raise unfit(term, f"has standardise, and with {kind} z-scores lose the answer", hint="set standardise: false")
