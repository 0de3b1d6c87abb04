"""Active distillation: the student chooses which texts its teacher is asked about, round by round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from kd_deploy import progress
from kd_deploy.distill.active import choose
from kd_deploy.distill.job import Job
from kd_deploy.distill.observe import observe, shape_of
from kd_deploy.distill.passes import all_logits, passes
from kd_deploy.distill.precision import autocast, usual_device
from kd_deploy.distill.signals import LOGITS, Signals
from kd_deploy.distill.standing import keep, take_up
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.teaching import Teaching
from kd_deploy.distill.weighing import counting, leaves_nothing, require_rows
from kd_deploy.manifest import RoundRecord
from kd_deploy.recipe import Active, Distill, HardLabels
from kd_deploy.tasks.encoding import Encoder, TextInput
from kd_deploy.tasks.registry import main_metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of the rounds: the last scores on validation, the answers that were used, each round's gain."""

    metrics: dict[str, float]
    teaching: Teaching
    rounds: tuple[RoundRecord, ...]


def ask_in_rounds(
    job: Job, student: nn.Module, teaching: Teaching, teachers: Teachers, *, settings: Distill, what: str
) -> Asked:
    """Choose texts, ask the teacher about them, train on all that was answered; as often as the recipe says.

    A text with a label counts by its label in every round, where the objective has `hard_labels`; the questions are
    then for the others, where there are any.

    Args:
        job: The recipe and its rows.
        student: Trained in place, on from where each round left it.
        teaching: With all texts, and no signals yet.
        teachers: Who is asked.
        settings: With `active`.
        what: What the bar says.

    Raises:
        TrainingError: Training cannot go on.
    """
    active = settings.active
    assert active is not None  # noqa: S101 - the caller saw it
    inputs = teaching.data.inputs
    distinct, texts = _numbered(inputs)
    pool = _pool(distinct, teaching, settings, unlabelled=len(job.splits.unlabeled))
    limit = min(active.budget, len(pool))
    if limit < active.budget:
        progress.say(f"{what}: there are {limit} texts to ask about, fewer than the budget of {active.budget}")
    rounds, metric = min(active.rounds, limit), main_metric(job.splits.validation)
    logits = np.zeros((len(distinct), len(job.labels.names)), dtype=np.float32)  # [T, C]: equal rows have one answer
    answered = np.zeros(len(distinct), dtype=bool)  # the texts that were asked about
    heard = np.zeros(len(distinct), dtype=bool)  # and of these to which the teacher had an answer
    folder, skipped = job.folder(f"{what} rounds"), 0
    computed, records, metrics = 0, list[RoundRecord](), dict[str, float]()
    standing = take_up(folder, student)
    if standing:
        earlier = _SoFar.model_validate_json(standing)
        computed, records, metrics = earlier.computed, list(earlier.rounds), earlier.metrics
        answered[texts[list(earlier.answered)]] = True
        given = teachers.signals([inputs[row] for row in distinct[answered]], names=(LOGITS,))
        logits[answered], heard[answered] = given.logits, given.heard
        teaching = _answered(
            teaching, logits[texts], answered[texts], heard[texts], computed=computed, settings=settings
        )
    asking = _Asking(
        student=student,
        encoder=teaching.data.encoder,
        inputs=[inputs[row] for row in pool],
        multi=job.labels.is_multi,
    )
    for number in range(len(records) + 1, rounds + 1):
        due = limit * number // rounds - int(answered.sum())
        if due <= 0:  # earlier rounds asked about more, for the pool was larger then
            continue
        seed, known = settings.seed + number, answered[texts[pool]]
        chosen = pool[asking.chosen(known, active, count=due, seed=seed, first=not records)]
        given = teachers.signals([inputs[row] for row in chosen], names=(LOGITS,))
        logits[texts[chosen]], answered[texts[chosen]] = given.logits, True
        heard[texts[chosen]] = given.heard
        computed += given.computed
        teaching = _answered(
            teaching, logits[texts], answered[texts], heard[texts], computed=computed, settings=settings
        )
        if number < rounds and leaves_nothing(teaching.data):
            skipped += 1  # no answer passes the limits of `samples` yet: later rounds bring more
            continue
        require_rows(teaching.data, settings)
        owed = settings.model_copy(update={"epochs": settings.epochs * (1 + skipped)})
        metrics, skipped = job.train(student, teaching, owed, what=f"{what} round {number}"), 0
        records.append(RoundRecord(asked=int(answered.sum()), score=metrics[metric]))
        progress.say(f"{what}: {records[-1].asked} texts asked, {metric} {records[-1].score:.4f}")
        rows = tuple(distinct[answered].tolist())
        so_far = _SoFar(answered=rows, computed=computed, rounds=tuple(records), metrics=metrics)
        keep(folder, student, so_far.model_dump_json())
        job.forget(f"{what} round {number}")
    return Asked(metrics=metrics, teaching=teaching, rounds=tuple(records))


class _SoFar(BaseModel):
    """What the rounds that are over came to: the rows that were asked about, and how the student did."""

    answered: tuple[int, ...]
    computed: int
    rounds: tuple[RoundRecord, ...]
    metrics: dict[str, float]


def _numbered(inputs: Sequence[TextInput]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each different text, [T]; and for each row which of them its text is, [N]."""
    number = {text: place for place, text in enumerate(dict.fromkeys(inputs))}
    texts = np.array([number[text] for text in inputs], dtype=np.int64)
    return np.unique(texts, return_index=True)[1], texts


def _pool(distinct: NDArray[np.int64], teaching: Teaching, settings: Distill, *, unlabelled: int) -> NDArray[np.int64]:
    """The rows that may be asked about: of texts whose labels say nothing, each text once."""
    without = distinct[distinct >= len(teaching.data.examples)]
    learns_labels = any(isinstance(term, HardLabels) and not term.is_nothing for term in settings.objective)
    return without if learns_labels and unlabelled and len(without) else distinct


def _answered(
    teaching: Teaching,
    logits: NDArray[np.float32],
    answered: NDArray[np.bool_],
    heard: NDArray[np.bool_],
    *,
    computed: int,
    settings: Distill,
) -> Teaching:
    """All texts, with the answers [N, C] to those that were asked about, and to which there was one."""
    asked = len({text for text, known in zip(teaching.data.inputs, answered, strict=True) if known})
    signals = Signals(rows={LOGITS: list(logits)}, computed=computed, reused=asked - computed)
    data = replace(teaching.data, signals=signals, rows=None)
    return replace(teaching, data=counting(data, settings, answered=heard))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """A student before the texts that it may ask about."""

    student: nn.Module
    encoder: Encoder
    inputs: Sequence[TextInput]
    multi: bool

    def chosen(
        self, answered: NDArray[np.bool_], active: Active, *, count: int, seed: int, first: bool
    ) -> NDArray[np.int64]:
        """The places of those to ask about next. A student that learned nothing yet has no opinion: it draws."""
        strategy = "random" if first and active.strategy != "diversity" else active.strategy
        if strategy == "random":
            nothing = np.zeros((len(self.inputs), 2), dtype=np.float32)
            return choose(nothing, count=count, strategy="random", seed=seed, already=answered)
        self.student.to(usual_device())
        logits = all_logits(self.student, self.encoder, self.inputs, context=autocast("fp32", usual_device()))
        return choose(
            logits,
            count=count,
            strategy=strategy,
            representations=self._represented() if strategy == "diversity" else None,
            second_logits=self._under_dropout(seed) if strategy == "disagreement" else None,
            already=answered,
            multi=self.multi,
        )

    def _represented(self) -> NDArray[np.float32]:
        """The mean of the student's last states, or of its word vectors, for each text: [N, H]."""
        depth = shape_of(self.student).depth
        name = f"hidden.{depth - 1}" if depth else "embedding"

        def mean(arrays: Mapping[str, Tensor]) -> Tensor:
            real = arrays["attention_mask"][:, :, None]  # [B, S, 1]
            return (observe(self.student, arrays, names=(name,))[name] * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)

        self.student.eval()
        return self._of_all(mean)

    def _under_dropout(self, seed: int) -> NDArray[np.float32]:
        """The logits [N, C] of a pass with the student's dropout at work."""
        torch.manual_seed(seed)
        self.student.train()
        logits = self._of_all(lambda arrays: observe(self.student, arrays)["logits"])
        self.student.eval()
        return logits

    @torch.inference_mode()
    def _of_all(self, compute: Callable[[Mapping[str, Tensor]], Tensor]) -> NDArray[np.float32]:
        """What is computed of each batch [B, S], one row [W] for each text: [N, W]."""
        encoded = self.encoder.encode_all(self.inputs)
        rows: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(encoded)
        for batch, arrays in passes(self.student, self.encoder, encoded):
            for row, value in zip(batch, compute(arrays).float().cpu().numpy(), strict=True):
                rows[row] = value
        return np.stack(rows)
