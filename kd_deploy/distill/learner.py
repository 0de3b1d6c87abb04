"""The student together with its objective: what the trainer trains, one batch in, one loss out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from kd_deploy.distill.decisions import Decisions
from kd_deploy.distill.observe import observe
from kd_deploy.distill.signals import ENTRIES, LOGITS
from kd_deploy.distill.steadying import Vectors, disagreement
from kd_deploy.distill.terms import Objective, Seen
from kd_deploy.distill.torch_runner import input_names
from kd_deploy.distill.vocabulary_head import only_at
from kd_deploy.tasks.task import NO_DECISION, Level

TEACHER = "teacher:"  # before the names of teacher signals in a batch
MASK = "mask"  # the tokens of the teacher, where its states come with the rows
WRITTEN = "decoder_input_ids"  # what the decoder beside an encoder reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What to minimise on the rows of one task, what is decided there, and where its logits lie among all.

    `narrow`: the decisions are between the entries of the vocabulary, so many that logits are made for them alone.
    """

    objective: Objective
    level: Level = "text"
    narrow: bool = False
    columns: slice = field(default_factory=lambda: slice(None))


class Learner(nn.Module):
    """A model and what it minimises; what the objectives' terms learn themselves is trained along."""

    def __init__(
        self, model: nn.Module, aims: Objective | Sequence[Aim], *, fgm: float = 0.0, r_drop: float = 0.0
    ) -> None:
        """Join the two.

        Args:
            model: The student.
            aims: What it minimises; for several tasks, on the rows of each.
            fgm: Length of the worst step of the word vectors, whose loss is added; 0: none.
            r_drop: Weight of the disagreement between two passes under dropout; 0: one pass alone.
        """
        super().__init__()
        self.model = model
        given = [Aim(objective=aims)] if isinstance(aims, Objective) else aims
        self.objectives = nn.ModuleList(aim.objective for aim in given)
        self._aims = given
        self.share = 0.0  # of the training that is done, 0 to 1
        self._fgm = fgm
        self._r_drop = r_drop

    def forward(self, batch: Mapping[str, Tensor], task: int = 0) -> Tensor:
        """The loss of a batch, [], float32.

        Args:
            batch: The arrays of the model [B, S], `targets`, and the teacher's signals as `teacher:NAME`.
            task: Whose rows they are, from 0.
        """
        objective = self.objectives[task]
        vectors = Vectors()
        with vectors.of(self.model):
            seen = self._seen(batch, task)
        if not len(seen.targets):  # nothing to decide: texts of unknown words alone, where words are hidden
            return seen.student["logits"].sum() * 0
        loss: Tensor = objective(seen)
        shifted: Tensor | float = 0.0
        if self._fgm:
            with Vectors(vectors.worst_shift(loss, size=self._fgm)).of(self.model):
                shifted = objective(self._seen(batch, task))
        if self._r_drop:
            again = self._seen(batch, task)
            apart = disagreement(seen.student["logits"], again.student["logits"], several=seen.several)
            loss = (loss + objective(again)) / 2 + self._r_drop * apart
        return loss + shifted

    def _seen(self, batch: Mapping[str, Tensor], task: int) -> Seen:
        arrays = {name: batch[name] for name in input_names(self.model)}
        aim, mask = self._aims[task], batch["attention_mask"]
        if WRITTEN in arrays:  # what is compared are the tokens of the targets
            mask = (batch["targets"] != NO_DECISION).long()
        decisions = Decisions.of(aim.level, batch["targets"], mask)
        with only_at(self.model, decisions.kept if aim.narrow else None):
            student = dict(observe(self.model, arrays, names=aim.objective.student_names))
        teacher = {name.removeprefix(TEACHER): value for name, value in batch.items() if name.startswith(TEACHER)}
        teacher_mask = teacher.pop(MASK, mask)
        student["logits"] = decisions.rows(student["logits"][..., aim.columns])
        teacher |= {name: decisions.rows(teacher[name]) for name in (LOGITS, ENTRIES) if name in teacher}
        return Seen(
            student=student,
            teacher=teacher,
            mask=mask,
            teacher_mask=teacher_mask if aim.level == "text" else mask,
            targets=decisions.aims,
            owners=decisions.owners,
            share=self.share,
            weights=batch.get("weights"),
        )
