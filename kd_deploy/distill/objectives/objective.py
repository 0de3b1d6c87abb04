"""The weighted sum of terms that a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kd_deploy import recipe
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.objectives.logits import logit_mse, soft_target_bernoulli_kl, soft_target_kl
from kd_deploy.errors import TrainingError

LABELS_ALONE = (recipe.HardLabels(term="hard_labels"),)


@dataclass(frozen=True, slots=True)
class Objective:
    """What the student minimises: one term or several, each with its weight."""

    terms: Sequence[recipe.SoftTargets | recipe.HardLabels | recipe.LogitMse]

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at the teacher's logits."""
        return any(term.term != "hard_labels" for term in self.terms)

    def loss(self, student: Tensor, *, teacher: Tensor | None, targets: Tensor) -> Tensor:
        """The weighted sum over a batch, [], float32.

        Args:
            student: Logits, [B, C].
            teacher: Logits, [B, C], cached or live; None where no term needs them.
            targets: Class ids [B] int64, or an indicator [B, C] float for several labels.
        """
        total = student.new_zeros((), dtype=student.dtype).float()
        for term in self.terms:
            total = total + term.weight * _term(term, student, teacher, targets)
        return total


def _term(
    term: recipe.SoftTargets | recipe.HardLabels | recipe.LogitMse,
    student: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
) -> Tensor:
    if isinstance(term, recipe.HardLabels):
        return hard_label_loss(student, targets)
    if teacher is None:
        raise TrainingError(f"the term {term.term} needs a teacher's logits", hint="give the recipe a teacher")
    if isinstance(term, recipe.LogitMse):
        return logit_mse(student, teacher)
    multi = targets.dim() == 2  # noqa: PLR2004
    kl = soft_target_bernoulli_kl if multi else soft_target_kl
    return kl(student, teacher, temperature=term.temperature)
