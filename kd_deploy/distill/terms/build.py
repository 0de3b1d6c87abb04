"""From the terms of a recipe to an objective that is ready, or the reason why a term does not fit."""

from collections.abc import Callable, Sequence
from typing import Any

from kd_deploy.distill.terms import inner, outer
from kd_deploy.distill.terms.ground import LOGITS, Ground, unfit
from kd_deploy.distill.terms.objective import Objective
from kd_deploy.distill.terms.term import Term
from kd_deploy.recipe import objective as recipe

READY: dict[type[recipe.AnyTerm], Callable[[Any, Ground], Term]] = {
    recipe.HardLabels: outer.hard_labels,
    recipe.LogitMse: outer.logit_mse,
    **dict.fromkeys(outer.DIVERGENCES, outer.softened),
    recipe.Hidden: inner.hidden,
    recipe.Embedding: inner.embedding,
    recipe.Cls: inner.cls,
    recipe.AttentionMse: inner.attention,
    recipe.AttentionKl: inner.attention,
    recipe.Relations: inner.relations,
    **dict.fromkeys(inner.BETWEEN_TEXTS, inner.structural),
}
BY_TOKEN = (recipe.Hidden, recipe.Embedding, recipe.AttentionMse, recipe.AttentionKl, recipe.Relations)


def build_objective(terms: Sequence[recipe.AnyTerm], ground: Ground) -> Objective:
    """The terms of a recipe for one student and one teacher.

    Raises:
        RecipeError: A term that does not fit the models, named with what would fit.
    """
    return Objective([_ready(term, ground) for term in terms])


def labels_alone() -> Objective:
    """What a teacher and a control are trained on."""
    return Objective([outer.hard_labels(recipe.HardLabels(term="hard_labels"), None)])


def _ready(term: recipe.AnyTerm, ground: Ground) -> Term:
    if isinstance(term, BY_TOKEN) and not ground.same_tokens:
        raise unfit(
            term,
            "compares token by token, and the student cuts texts into other tokens than the teacher",
            hint=f"{ground.remedy}, or use a term over logits or whole texts",
        )
    if isinstance(term, recipe.PerExample) and term.focus != "all" and ground.answers != "classes":
        raise unfit(
            term, f"has focus, which goes by classes, and the answer is a {ground.answers}", hint="leave focus out"
        )
    ready = READY[type(term)](term, ground)
    ready.answers = ready.answers or ground.answers == "vector"  # there is no head between its layers and its answer
    if ground.level != "text" and not ground.same_tokens and ready.teacher:
        raise unfit(
            term,
            "compares answers about tokens, and the student cuts texts into other tokens than the teacher",
            hint=f"{ground.remedy}; a student that writes can learn by distill.sequences and hard_labels",
        )
    if ground.answers_only and set(ready.teacher) - set(LOGITS):
        raise unfit(term, "looks into the teacher, and this one shows its answers alone", hint="use terms over logits")
    return ready
