"""What the terms of a recipe are fitted to, and the refusals of those that do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd_deploy.distill.layer_map import LayerMap, check_pairs, layer_map
from kd_deploy.distill.observe import Shape
from kd_deploy.distill.terms.focus import focus_weights
from kd_deploy.distill.terms.term import Seen
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import objective as recipe
from kd_deploy.tasks.task import Answers, Level

LOGITS = ("logits",)
WHOLE = "set student.vocabulary to full (to auto, where no texts are made)"
ITS_OWN = "let the student start from this teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The two models, what is decided and how it is answered; `classes` is None where it is not known yet.

    `auto` is the layer map by likeness, where one was measured; `same_tokens` says whether both models cut
    a text into the same tokens, and `remedy` what would make them, if they do not; `answers_only` that the teacher
    shows no layers, as one on a server, or one that fills in what the student writes.
    """

    student: Shape
    teacher: Shape
    level: Level = "text"
    answers: Answers = "classes"
    several: bool = False
    classes: int | None = None
    auto: LayerMap | None = None
    same_tokens: bool = True
    remedy: str = WHOLE
    answers_only: bool = False

    def pairs(self, term: recipe.AnyTerm, layers: recipe.LayerMap) -> LayerMap:
        """The layers that a term compares, student's first.

        Raises:
            RecipeError: A layer that one of the models does not have, or a student without layers.
        """
        low, high = self.student.depth, self.teacher.depth
        if not low or not high:
            bare = self.student if not low else self.teacher
            raise unfit(term, f"compares layers, and a {bare.name} has none", hint="use a term over logits")
        if layers == "top":
            return ((low - 1, high - 1),)
        if layers == "auto":
            # Before the models are there to be compared, any map stands for the measured one.
            return self.auto or self.pairs(term, "uniform")
        try:
            if isinstance(layers, str):
                return layer_map(layers, student_depth=low, teacher_depth=high)
            check_pairs(layers, student_depth=low, teacher_depth=high)
        except RecipeError as error:
            raise unfit(term, f"has layers that do not fit: {error}", hint=error.hint) from error
        return layers

    def heads(self, term: recipe.AnyTerm) -> tuple[int, int]:
        """The attention heads of both models.

        Raises:
            RecipeError: One of them has no attention that can be read.
        """
        return self._heads_of(term, self.student), self._heads_of(term, self.teacher)

    def _heads_of(self, term: recipe.AnyTerm, shape: Shape) -> int:
        if shape.heads is None:
            raise unfit(
                term,
                f"reads attention, and that of a {shape.name} cannot be read",
                hint="use hidden, similarity_matrix or a term over logits",
            )
        return shape.heads


def unfit(term: recipe.AnyTerm, why: str, *, hint: str) -> RecipeError:
    """The refusal of a term."""
    return RecipeError(f"distill.objective: the term {name_of(term)} {why}", hint=hint)


def name_of(term: recipe.AnyTerm) -> str:
    """What a recipe calls the term."""
    return str(getattr(term, "term", type(term).__name__))


def weights_of(term: recipe.PerExample, seen: Seen) -> Tensor | None:
    """How much each decision of a batch counts for a term against the teacher, [N]; None where all count alike."""
    focus, weights = focus_of(term, seen), seen.weights
    if weights is not None and seen.owners is not None:
        weights = weights[seen.owners]
    if focus is None or weights is None:
        return weights if focus is None else focus
    return focus * weights


def text_weights_of(term: recipe.PerExample, seen: Seen) -> Tensor | None:
    """How much each text of a batch counts for a term, [B]: as much as its decisions on the mean; None: all alike."""
    weights = weights_of(term, seen)
    if weights is None or seen.owners is None:
        return weights
    sums = torch.zeros(len(seen.mask), device=weights.device).index_add(0, seen.owners, weights)
    return sums / torch.bincount(seen.owners, minlength=len(seen.mask)).clamp(min=1)


def focus_of(term: recipe.PerExample, seen: Seen) -> Tensor | None:
    """How much each example counts by the term's own focus, [B]; None where all count alike."""
    if term.focus == "all":
        return None
    return focus_weights(*seen.compared, focus=term.focus, several=seen.several)


def teacher_names(term: recipe.PerExample, names: Sequence[str]) -> tuple[str, ...]:
    """What a term looks at in the teacher: what it compares, and what its focus goes by."""
    return (*names, *(() if term.focus == "all" else LOGITS))


def mean(losses: Sequence[Tensor]) -> Tensor:
    """The mean of the losses of several layers, []."""
    return torch.stack(list(losses)).mean()
