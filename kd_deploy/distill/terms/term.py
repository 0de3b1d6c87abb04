"""One term of an objective, ready to use: what it looks at, what it has to learn itself, and its value."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kd_deploy.distill.objectives.likeliest import among
from kd_deploy.errors import TrainingError
from kd_deploy.recipe.section import Schedule

SIGNAL = re.compile(r"logits|embedding|(hidden|query|key|value)\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One batch as an objective sees it: the signals of both models, the labels, and how far the training is.

    The logits [N, C] of both, and `targets`, are a row for each decision: a text, a token, a place among tokens. All
    other signals are a row for each text. `mask` [B, S] and `teacher_mask` [B, T], None: the same, say which tokens are
    there. `owners` [N] are the texts of the decisions; None: one each, in order. A
    target below 0, or that is no number, is a decision without a label. `weights` [B], 0 to 1, say how much the
    teacher counts; None: 1.
    """

    student: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    mask: Tensor
    targets: Tensor
    share: float = 0.0
    weights: Tensor | None = None
    owners: Tensor | None = None
    teacher_mask: Tensor | None = None

    @property
    def masks(self) -> tuple[Tensor, Tensor]:
        """Which tokens are there, of student and teacher, [B, S] and [B, T]."""
        return self.mask, self.mask if self.teacher_mask is None else self.teacher_mask

    @property
    def compared(self) -> tuple[Tensor, Tensor]:
        """The logits of student and teacher over the same classes, [N, C] each.

        Where only the teacher's likeliest entries are known, [N, k + 1]: these, and all others as one class.
        """
        student, teacher = self.student["logits"], self.teacher["logits"]
        entries = self.teacher.get("entries")
        return (student if entries is None else among(student, entries)), teacher

    @property
    def labelled(self) -> Tensor:
        """Which decisions have a label, [N], bool."""
        if self.several:
            return self.targets.flatten(1).ge(0).all(dim=1)
        return self.targets.isfinite() if self.targets.is_floating_point() else self.targets.ge(0)

    @property
    def several(self) -> bool:
        """Whether an example may have several labels: the targets are an indicator [B, C], not ids [B]."""
        return self.targets.dim() == 2  # noqa: PLR2004


class Term(nn.Module):
    """A weighted part of the loss.

    A term of one's own, from Python: `lambda ground: Term("mine", compute=lambda seen: ..., teacher=("logits",))`.
    """

    def __init__(
        self,
        name: str,
        *,
        compute: Callable[[Seen], Tensor],
        weight: float | Schedule = 1.0,
        student: Sequence[str] = (),
        teacher: Sequence[str] = (),
        learned: nn.Module | None = None,
        answers: bool = True,
    ) -> None:
        """Describe a term.

        Args:
            name: As the recipe and the logs call it.
            compute: The loss of a batch, [], float32, before the weight.
            weight: A number, or one that changes over the training.
            student: What it looks at in the student, besides the logits; names as in `observe`.
            teacher: What it looks at in the teacher; empty: it needs no teacher.
            learned: Projections that are trained along and thrown away.
            answers: Whether it teaches the answer itself; a term over layers alone leaves the head as it is.

        Raises:
            TrainingError: A weight below 0.
        """
        super().__init__()
        if not isinstance(weight, Schedule) and not weight >= 0:
            raise TrainingError(f"the term {name} has the weight {weight}", hint="give 0 or more")
        self.name = name
        self.weight = weight
        self.student = tuple(student)
        self.teacher = tuple(teacher)
        self.learned = learned
        self.answers = answers
        self._compute = compute

    def forward(self, seen: Seen) -> Tensor:
        """The weighted loss of a batch, [].

        Raises:
            TrainingError: It reads a signal that it did not ask for, or its value is not one number.
        """
        try:
            value = self._compute(seen)
        except KeyError as error:
            if not SIGNAL.fullmatch(str(error.args[0])):
                raise
            raise TrainingError(
                f"the term {self.name} reads {error}, which is not among what it looks at",
                hint="name it in the term's student or teacher",
            ) from error
        if value.dim():
            raise TrainingError(
                f"the term {self.name} gives {list(value.shape)} numbers for a batch, and a loss is one",
                hint="have compute give their mean",
            )
        return scheduled(self.weight, seen.share) * value


def scheduled(value: float | Schedule, share: float) -> float:
    """The value of a number or a schedule when `share` of the training, 0 to 1, is done."""
    if not isinstance(value, Schedule):
        return value
    passed = share if value.shape == "linear" else (1 - math.cos(math.pi * share)) / 2
    return value.start + (value.end - value.start) * passed
