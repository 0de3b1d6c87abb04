"""The student together with its objective: what the trainer trains, one batch in, one loss out."""

from collections.abc import Mapping

from torch import Tensor, nn

from kd_deploy.distill.observe import observe
from kd_deploy.distill.steadying import Vectors, disagreement
from kd_deploy.distill.terms import Objective, Seen
from kd_deploy.distill.torch_runner import input_names

TEACHER = "teacher:"  # before the names of teacher signals in a batch


class Learner(nn.Module):
    """A model and what it minimises; what the objective's terms learn themselves is trained along."""

    def __init__(self, model: nn.Module, objective: Objective, *, fgm: float = 0.0, r_drop: float = 0.0) -> None:
        """Join the two.

        Args:
            model: The student.
            objective: What it minimises.
            fgm: Length of the worst step of the word vectors, whose loss is added; 0: none.
            r_drop: Weight of the disagreement between two passes under dropout; 0: one pass alone.
        """
        super().__init__()
        self.model = model
        self.objective = objective
        self.share = 0.0  # of the training that is done, 0 to 1
        self._fgm = fgm
        self._r_drop = r_drop

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch, [], float32.

        Args:
            batch: The arrays of the model [B, S], `targets`, and the teacher's signals as `teacher:NAME`.
        """
        vectors = Vectors()
        with vectors.of(self.model):
            seen = self._seen(batch)
        loss: Tensor = self.objective(seen)
        if self._fgm:
            shifted = Vectors(vectors.worst_shift(loss, size=self._fgm))
            with shifted.of(self.model):
                loss = loss + self.objective(self._seen(batch))
        if self._r_drop:
            again = self._seen(batch)
            apart = disagreement(seen.student["logits"], again.student["logits"], several=seen.several)
            loss = (loss + self.objective(again)) / 2 + self._r_drop * apart
        return loss

    def _seen(self, batch: Mapping[str, Tensor]) -> Seen:
        arrays = {name: batch[name] for name in input_names(self.model)}
        return Seen(
            student=observe(self.model, arrays, names=self.objective.student_names),
            teacher={name.removeprefix(TEACHER): value for name, value in batch.items() if name.startswith(TEACHER)},
            mask=batch["attention_mask"],
            targets=batch["targets"],
            share=self.share,
            weights=batch.get("weights"),
        )
