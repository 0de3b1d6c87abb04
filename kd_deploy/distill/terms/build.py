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
MakeTerm = Callable[[Ground], Term]  # a term from Python, made anew for the two models of each training


def build_objective(terms: Sequence[recipe.AnyTerm], ground: Ground, *, own: Sequence[MakeTerm] = ()) -> Objective:
    """The terms of a recipe, and those from Python, for one student and one teacher.

    Raises:
        RecipeError: A term that does not fit the models, named with what would fit.
    """
    return Objective([*(_ready(term, ground) for term in terms), *(_own(make, ground) for make in own)])


def labels_alone() -> Objective:
    """What a teacher and a control are trained on."""
    return Objective([outer.hard_labels(recipe.HardLabels(term="hard_labels"), None)])


def _own(make: MakeTerm, ground: Ground) -> Term:
    """A term from Python, refused where it looks at what one of the models does not show."""
    term = make(ground)
    for shape, names in ((ground.student, term.student), (ground.teacher, term.teacher)):
        strange = next((name for name in names if not shape.shows(name)), None)
        if strange:
            layers = [f"{kind}.0 to {kind}.{shape.depth - 1}" for kind in shape.layer_signals]
            raise RecipeError(
                f"the term {term.name} looks at {strange}, which a {shape.name} does not show",
                hint=f"it shows {', '.join(['logits', 'embedding', *layers])}",
            )
    if ground.answers_only and set(term.teacher) - set(LOGITS):
        raise RecipeError(
            f"the term {term.name} looks into the teacher, and this one shows its answers alone", hint="use its logits"
        )
    by_token = set(term.student) - set(LOGITS) or ground.level != "text"
    if term.teacher and by_token and not ground.same_tokens:
        raise RecipeError(
            f"the term {term.name} compares token by token, and the student cuts texts into other tokens than the "
            "teacher",
            hint=ground.remedy,
        )
    term.answers = term.answers or ground.answers == "vector"
    return term


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
