"""The only subclass of transformers.Trainer: our loss, length-grouped batches, evaluation on the main metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from kd_deploy import progress
from kd_deploy.distill.adapters import merged, with_adapters
from kd_deploy.distill.balancing import Balanced
from kd_deploy.distill.bar import Bar
from kd_deploy.distill.finite import require_weights
from kd_deploy.distill.judging import evaluate_model
from kd_deploy.distill.learner import TEACHER, Learner
from kd_deploy.distill.lessons import Lesson, batches_of, flattened, metric_of
from kd_deploy.distill.loss_watch import LossWatch
from kd_deploy.distill.memory import enough_memory
from kd_deploy.distill.on_policy import OwnWords
from kd_deploy.distill.ordering import EpochOrder
from kd_deploy.distill.precision import Format
from kd_deploy.distill.rows import TASK, Collate, Rows, TrainingData
from kd_deploy.distill.sampling import Batches
from kd_deploy.distill.signals import LiveTeacher
from kd_deploy.distill.terms import Objective
from kd_deploy.distill.torch_runner import input_names
from kd_deploy.distill.training_arguments import (
    Best,
    followed,
    newest_checkpoint,
    require_trackers,
    stopping,
    training_arguments,
)
from kd_deploy.distill.word_table import TableAdamW, clip, word_table
from kd_deploy.recipe import Distill, Training
from kd_deploy.tasks.heads import MAIN
from kd_deploy.tasks.registry import task_of

SMALLER = "lower batch_size and raise gradient_accumulation, or bound the tokens of a batch by batch_tokens"


class DistillTrainer(Trainer):  # type: ignore[misc]
    """transformers.Trainer with the objective of a recipe."""

    def __init__(
        self,
        *,
        learner: Learner,
        lessons: Mapping[str, Lesson],
        rows: Sequence[Rows],
        batches: Batches | Balanced,
        row_by_row: bool = False,
        own_words: OwnWords | None = None,
        **trainer: Any,
    ) -> None:
        self._lessons = lessons
        self._live = [lesson.live for lesson in lessons.values()]
        self._batches = batches
        self._own_words = own_words
        self._watch = LossWatch()
        # Trainer wants an eval_dataset to evaluate at all; `evaluate` reads each lesson's validation in its place.
        joined: ConcatDataset[dict[str, Any]] = ConcatDataset(rows)
        super().__init__(model=learner, train_dataset=joined, eval_dataset=joined, **trainer)
        self.model_accepts_loss_kwargs = False  # our loss is a mean: accumulated steps are to be averaged
        names = {*input_names(learner.model), *(name for live in self._live if live for name in live.inputs)}
        # All tasks are read through the one tokenizer of the model.
        encoder = next(iter(lessons.values())).data.encoder
        self.data_collator = Collate(encoder, sorted(names))
        _, options = self.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer_cls_and_kwargs = (TableAdamW, options | {"row_by_row": row_by_row})
        self.remove_callback(PrinterCallback)
        self.add_callback(EpochOrder(batches, rows))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: object
    ) -> Tensor:
        """The objective over one batch, each row of an epoch counting alike; a term for some is a mean over these."""
        self.model.share = self.state.global_step / max(1, self.state.max_steps - 1)  # 1 at the last step
        task: int = inputs.pop(TASK, 0)
        if self._own_words is not None:
            inputs = self._own_words.said(self.model.model, inputs, step=self.state.global_step)
        live = self._live[task]
        if live is not None:
            inputs |= {TEACHER + name: value for name, value in live.signal(inputs).items()}
        loss: Tensor = model(inputs, task)
        self._watch.see(loss, step=self.state.global_step + 1, parts=self.model.objectives[task].parts)
        accumulated = self.current_gradient_accumulation_steps
        return loss * self._batches.share(len(inputs["targets"]), accumulated=accumulated, task=task)

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The batches of this process; accelerate deals them out in turn."""
        loader: DataLoader[dict[str, Any]] = DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[dict[str, Any]] = self.accelerator.prepare(loader)
        return prepared

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # each process holds a part of the gradients
            length: Tensor = super()._clip_grad_norm(model)
            return length
        return clip(model.parameters(), largest=self.args.max_grad_norm)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # A head that shares its weights with the word vectors would be refused.
        super()._save(output_dir, state_dict=_apart(state_dict or self.model.state_dict()))

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """The scores on validation, as Trainer's choice of the best epoch reads them."""
        self._watch.look()  # the checkpoint of this epoch is written next
        require_weights(self.model, step=self.state.global_step)
        # Numbers would be rounded to a few values, and their order lost.
        by_class = all(
            task_of(lesson.validation.examples.labels).ANSWERS == "classes" for lesson in self._lessons.values()
        )
        chosen: Format = "bf16" if self.args.bf16 and by_class else "fp32"
        quality = flattened(_judged(self.model.model, self._lessons, number_format=chosen), self._lessons)
        metrics = {f"eval_{name}": value for name, value in quality.items()}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def train(
    model: nn.Module,
    *,
    objective: Objective,
    data: TrainingData,
    validation: TrainingData,
    settings: Training,
    work: Path,
    description: str,
    live: LiveTeacher | None = None,
) -> dict[str, float]:
    """Train a model in place, keep the epoch that is best on validation, and give its scores there.

    Where the objective leaves the answer alone, validation says nothing, and the last epoch is kept.

    Args:
        model: A classifier; its weights are changed.
        objective: What to minimise.
        data: Rows to learn from.
        validation: Rows by which the best epoch is chosen.
        settings: Epochs, batch size, learning rate and so on; adapters that it asks for are merged at the end.
        work: Where checkpoints go; training goes on from the newest whole one there.
        description: What the bar says.
        live: The teacher, where its signals do not come with the data.

    Raises:
        TrainingError: The loss is not finite, or the precision is not to be had.
        RecipeError: Adapters for a model that has nothing to adapt.
        MissingExtraError: A tracker, or peft, that is not installed.
    """
    lesson = Lesson(objective=objective, data=data, validation=validation, live=live)
    return train_together(model, {MAIN: lesson}, settings=settings, work=work, description=description)[MAIN]


def train_together(
    model: nn.Module,
    lessons: Mapping[str, Lesson],
    *,
    settings: Training,
    work: Path,
    description: str,
    logs: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Train a model in place on one task or several, as `train` does, and give its scores on each.

    Args:
        model: A classifier of the classes of all tasks.
        lessons: The tasks; every batch has rows of one of them.
        settings: As for `train`.
        work: Where checkpoints go.
        description: What the bar says.
        logs: Where trackers that write files do so; None: beside the checkpoints.

    Raises:
        TrainingError: The loss is not finite, or the precision is not to be had.
        RecipeError: Adapters for a model that has nothing to adapt.
        MissingExtraError: A tracker, or peft, that is not installed.
    """
    metric, given = metric_of(model, lessons), list(lessons.values())
    answers = any(lesson.objective.answers for lesson in given)
    require_trackers(settings)
    rows = [Rows(lesson.data, task=task, seed=settings.seed) for task, lesson in enumerate(given)]
    batches = batches_of(given, rows, settings)
    steps = settings.epochs * batches.steps
    adapter = settings.adapter if isinstance(settings, Distill) else None
    torch.manual_seed(settings.seed)  # Trainer does so too, but after the adapters are drawn
    adapters = with_adapters(model, adapter, steps=steps) if adapter else None
    with word_table(model, settings.embeddings, heard=settings.fgm > 0):
        trainer = DistillTrainer(
            learner=Learner(model, [lesson.aim for lesson in given], fgm=settings.fgm, r_drop=settings.r_drop),
            args=training_arguments(model, settings, work=work, metric=metric if answers else None, steps=steps),
            row_by_row=settings.embeddings == "sparse",
            own_words=_own_words(settings, given[0]),
            lessons=lessons,
            rows=rows,
            batches=batches,
            callbacks=[
                Best(),
                Bar(description, metric),
                *stopping(settings),
                *(adapters.callbacks if adapters else ()),
            ],
        )
        newest = newest_checkpoint(work, steps=steps)
        with followed(trainer, name=description, logs=logs), enough_memory(f"{description}: a batch", hint=SMALLER):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    if adapters:
        merged(adapters)
    if answers:
        progress.say(f"{description}: best validation {metric} {trainer.state.best_metric:.4f}")
    quality = _judged(model, lessons, number_format="fp32")
    model.cpu().eval()
    return quality


def _own_words(settings: Training, lesson: Lesson) -> OwnWords | None:
    asked = settings.on_policy if isinstance(settings, Distill) else None
    if asked is None or lesson.live is None:  # a control learns from what is there
        return None
    return OwnWords(settings=asked, encoder=lesson.data.encoder, seed=settings.seed)


def _apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, each in a memory of its own."""
    seen: set[int] = set()
    found = {}
    for name, value in state.items():
        found[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return found


def _judged(model: nn.Module, lessons: Mapping[str, Lesson], *, number_format: Format) -> dict[str, dict[str, float]]:
    return {
        name: evaluate_model(model, lesson.validation, number_format=number_format, columns=lesson.columns)
        for name, lesson in lessons.items()
    }
