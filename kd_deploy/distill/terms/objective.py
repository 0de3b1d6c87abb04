"""The weighted sum of terms that a student minimises."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_deploy.distill.terms.term import Seen, Term


class Objective(nn.Module):
    """What the student minimises: one term or several, each with its weight."""

    def __init__(self, terms: Sequence[Term]) -> None:
        """Take the terms, and what they have to learn, along."""
        super().__init__()
        self.terms: Sequence[Term] = nn.ModuleList(terms)  # type: ignore[assignment]
        self.parts: tuple[tuple[str, Tensor], ...] = ()  # of the last sum, what each term gave to it

    @property
    def student_names(self) -> tuple[str, ...]:
        """What the terms look at in the student, besides its logits."""
        return tuple(sorted({name for term in self.terms for name in term.student} - {"logits"}))

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """What the terms look at in the teacher; empty where none needs one."""
        return tuple(sorted({name for term in self.terms for name in term.teacher}))

    @property
    def answers(self) -> bool:
        """Whether any term teaches the answer itself, so that validation tells a better epoch from a worse one."""
        return any(term.answers for term in self.terms)

    def forward(self, seen: Seen) -> Tensor:
        """The weighted sum over a batch, [], float32."""
        # Under autocast the products inside the terms would be rounded to bfloat16.
        with torch.autocast(seen.mask.device.type, enabled=False):
            total = seen.student["logits"].new_zeros((), dtype=torch.float32)
            parts: list[tuple[str, Tensor]] = []
            for term in self.terms:
                value = term(seen)
                total = total + value
                parts.append((term.name, value.detach()))
            self.parts = tuple(parts)
        return total
