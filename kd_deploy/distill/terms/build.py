"""From the terms of a recipe to an objective that is ready, or the reason why a term does not fit."""

from collections.abc import Callable, Sequence
from typing import Any

from kd_deploy.distill.terms import inner, outer
from kd_deploy.distill.terms.ground import LOGITS, Ground, unfit
from kd_deploy.distill.terms.objective import Objective
from kd_deploy.distill.terms.term import Term
from kd_deploy.errors import RecipeError
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


def build_objective(terms: Sequence[recipe.AnyTerm], ground: Ground, own: Sequence[Term] = ()) -> Objective:
    """The terms of a recipe, and those from Python, for one student and one teacher.

    Raises:
        RecipeError: A term that does not fit the models, named with what would fit.
    """
    for term in own:
        _require_shown(term, ground)
    return Objective([*(_ready(term, ground) for term in terms), *own])


def labels_alone() -> Objective:
    """What a teacher and a control are trained on."""
    return Objective([outer.hard_labels(recipe.HardLabels(term="hard_labels"), None)])


def _require_shown(term: Term, ground: Ground) -> None:
    """Refuse a term from Python that looks at what one of the models does not show."""
    for shape, names in ((ground.student, term.student), (ground.teacher, term.teacher)):
        shown = shape.signals
        if shape is ground.teacher and ground.answers_only:
            shown = frozenset(LOGITS)
        strange = next((name for name in names if name not in shown), None)
        if strange:
            raise RecipeError(
                f"the term {term.name} looks at {strange}, which a {shape.name} does not show",
                hint=f"it shows {', '.join(sorted(shown))}",
            )


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
