"""What a stage may ask for, given the terms of its objective."""

from collections.abc import Sequence

from kd_deploy.distill.signals import LOGITS
from kd_deploy.distill.terms import Objective
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Distill
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.recipe.objective import AngleRelations, AnyTerm, Relational, Structure


def check_stage(settings: Distill, objective: Objective, *, max_length: int) -> None:
    """Refuse what a stage asks for and its terms cannot give.

    Args:
        settings: The stage.
        objective: Its terms.
        max_length: Of a text, in tokens.

    Raises:
        RecipeError: `patience`, `samples` or `active` beside terms that leave them nothing to go by, and batches in
            which a term has nothing to compare.
    """
    if settings.patience and not objective.answers:
        raise RecipeError(
            "distill.patience waits for a better validation, and terms over layers alone do not change the answers",
            hint="leave patience out of this stage",
        )
    of_all = _that_looks_at_all((settings,))
    if settings.active and of_all:
        raise RecipeError(
            f"distill.active asks a teacher about some texts, and {of_all} weighs the texts of a batch by its answers",
            hint="use soft_targets without focus",
        )
    _require_room(settings, max_length=max_length)
    between = next((term for term in settings.objective if _is_between(term)), None)
    if between and not settings.samples.all_count:
        by_gamma = isinstance(between, Relational)
        raise RecipeError(
            f"distill.samples says how much each text counts, and {between.term} compares all texts of a batch"
            + (" by its gamma" if by_gamma else ""),
            hint="set its gamma to 0, or leave samples out" if by_gamma else "leave the term or samples out",
        )
    deeper = sorted(set(objective.teacher_names) - {LOGITS})
    if settings.active and deeper:
        raise RecipeError(
            f"distill.active asks a teacher for its answers alone, and the objective needs its {deeper[0]} too",
            hint="use terms over logits",
        )
    if settings.active and not objective.teacher_names:
        raise RecipeError("distill.active asks a teacher, and no term of the objective needs one", hint="leave it out")


def _require_room(settings: Distill, *, max_length: int) -> None:
    """Refuse batches in which a term would find nothing to compare."""
    for term in settings.objective:
        least = _least_texts(term)
        if settings.batch_size < least:
            raise RecipeError(
                f"distill.batch_size {settings.batch_size} is too small for {term.term}, which compares texts of a "
                "batch",
                hint=f"set it to {least} at least, better to 32",
            )
        if settings.batch_tokens and least > 1 and settings.batch_tokens < least * max_length:
            raise RecipeError(
                f"distill.batch_tokens {settings.batch_tokens} is too small for {term.term}, which compares texts of a "
                f"batch: they may have {max_length} tokens each (data.max_length)",
                hint=f"set it to {least * max_length} at least, or leave it out",
            )


def check_silence(endpoint: Endpoint, stages: Sequence[Distill]) -> None:
    """Refuse terms that weigh the texts of a batch by the answers of a teacher that may have none to some.

    Raises:
        RecipeError: Naming the term.
    """
    of_all = _that_looks_at_all(stages)
    if endpoint.protocol == "openai" and of_all:
        raise RecipeError(
            f"teacher.endpoint: a chat model may name no label, and {of_all} weighs the texts of a batch by its "
            "answers",
            hint="use soft_targets without focus",
        )


def _least_texts(term: AnyTerm) -> int:
    return 3 if isinstance(term, AngleRelations) else 2 if _is_between(term) else 1


def _is_between(term: AnyTerm) -> bool:
    return isinstance(term, Structure) or (isinstance(term, Relational) and term.gamma > 0)


def _that_looks_at_all(stages: Sequence[Distill]) -> str | None:
    """The first term that weighs the texts of a batch by the teacher's answers to all of them; None: there is none."""
    terms = (term for stage in stages for term in stage.objective)
    return next(
        (one.term for one in terms if isinstance(one, Relational) or getattr(one, "focus", "all") != "all"), None
    )
