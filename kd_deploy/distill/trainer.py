"""The only subclass of transformers.Trainer: our loss, length-grouped batches, evaluation on the main metric."""

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from kd_deploy import progress
from kd_deploy.distill.objectives import Objective
from kd_deploy.distill.precision import autocast, choose_format
from kd_deploy.distill.sampling import ByLength
from kd_deploy.distill.torch_runner import all_logits, input_names
from kd_deploy.errors import MissingExtraError, TrainingError
from kd_deploy.recipe import Training
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.text_classification import Examples, predicted_classes, score

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Examples as a model is trained on them: ids, targets and, for distillation, the teacher's logits."""

    examples: Examples
    encoder: Encoder
    teacher_logits: NDArray[np.float32] | None = None


class _Rows(Dataset[dict[str, Any]]):
    """Encoded rows by number: what Trainer's loader asks for."""

    def __init__(self, data: TrainingData) -> None:
        self.encoded = data.encoder.encode_all(data.examples.inputs)
        self.targets = _target_array(data.examples)
        self.teacher_logits = data.teacher_logits

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> dict[str, Any]:
        teacher = None if self.teacher_logits is None else self.teacher_logits[row]
        return {"encoded": self.encoded[row], "target": self.targets[row], "teacher": teacher}


@dataclass(frozen=True, slots=True)
class _Collate:
    encoder: Encoder
    names: Sequence[str]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        encoded: list[Encoded] = [row["encoded"] for row in rows]
        arrays = self.encoder.collate(encoded, input_names=self.names)
        batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
        batch["targets"] = torch.from_numpy(np.stack([row["target"] for row in rows]))
        if rows[0]["teacher"] is not None:
            batch["teacher_logits"] = torch.from_numpy(np.stack([row["teacher"] for row in rows]))
        return batch


class DistillTrainer(Trainer):  # type: ignore[misc]
    """transformers.Trainer with the objective of a recipe."""

    def __init__(self, *, objective: Objective, data: TrainingData, validation: TrainingData, **trainer: Any) -> None:
        self._objective = objective
        self._validation = validation
        rows = _Rows(data)
        # Trainer wants an eval_dataset to evaluate at all; `evaluate` reads `validation` in its place.
        super().__init__(train_dataset=rows, eval_dataset=rows, **trainer)
        self.model_accepts_loss_kwargs = False  # our loss is a mean: accumulated steps are to be averaged
        self.data_collator = _Collate(data.encoder, input_names(self.model))
        self._lengths = [len(one) for one in rows.encoded]
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: object
    ) -> Tensor:
        """The objective over one batch; a loss that is no number stops the training at once."""
        targets, teacher = inputs.pop("targets"), inputs.pop("teacher_logits", None)
        loss = self._objective.loss(model(**inputs).logits, teacher=teacher, targets=targets)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}",
                hint="lower the learning rate, or choose precision: fp32; the last checkpoint is kept",
            )
        return loss

    def _get_train_sampler(self, train_dataset: object = None) -> Sampler[int]:
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(self._lengths, batch_size=size, seed=self.args.seed)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """The scores on validation, as Trainer's choice of the best epoch reads them."""
        quality = evaluate_model(self.model, self._validation, number_format="bf16" if self.args.bf16 else "fp32")
        metrics = {f"eval_{name}": value for name, value in quality.items()}
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Bar(TrainerCallback):  # type: ignore[misc]
    """Moves the command line's bar, and says what each epoch reached."""

    def __init__(self, description: str, metric: str) -> None:
        self._description = description
        self._metric = metric
        self._steps: Iterator[int] = iter(())

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Start the bar where the checkpoint left off."""
        remaining = range(state.global_step, state.max_steps)
        self._steps = progress.track(remaining, self._description, total=len(remaining))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """One step further."""
        next(self._steps, None)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: object) -> None:
        """What validation says."""
        value = metrics[f"eval_{self._metric}"]
        progress.say(f"{self._description}: epoch {round(state.epoch or 0)}, validation {self._metric} {value:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        """Close the bar."""
        for _step in self._steps:
            pass


def train(
    model: nn.Module,
    *,
    objective: Objective,
    data: TrainingData,
    validation: TrainingData,
    settings: Training,
    work: Path,
    description: str,
) -> dict[str, float]:
    """Train a model in place, keep the epoch that is best on validation, and give its scores there.

    Args:
        model: A classifier; its weights are changed.
        objective: What to minimise.
        data: Rows to learn from.
        validation: Rows by which the best epoch is chosen.
        settings: Epochs, batch size, learning rate and so on.
        work: Where checkpoints go; training goes on from the newest whole one there.
        description: What the bar says.

    Raises:
        TrainingError: The loss is not finite, or the precision is not to be had.
        MissingExtraError: A tracker that is not installed.
    """
    metric = data.examples.labels.main_metric
    _require_trackers(settings)
    trainer = DistillTrainer(
        model=model,
        args=_arguments(model, settings, work=work, metric=metric, rows=len(data.examples)),
        objective=objective,
        data=data,
        validation=validation,
        callbacks=[_Bar(description, metric)],
    )
    trainer.train(resume_from_checkpoint=_newest_checkpoint(work))
    best = trainer.state.best_metric
    progress.say(f"{description}: best validation {metric} {best:.4f}")
    quality = evaluate_model(model, validation, number_format="fp32")
    model.cpu().eval()
    return quality


def evaluate_model(model: nn.Module, data: TrainingData, *, number_format: Any) -> dict[str, float]:
    """The task's scores of a model on data."""
    device = next(model.parameters()).device
    logits = all_logits(model, data.encoder, data.examples.inputs, context=autocast(number_format, device))
    labels = data.examples.labels
    return score(predicted_classes(logits, labels), data.examples.targets, class_count=len(labels.names))


def _arguments(model: nn.Module, settings: Training, *, work: Path, metric: str, rows: int) -> TrainingArguments:
    steps_per_epoch = math.ceil(rows / (settings.batch_size * settings.gradient_accumulation))
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * steps_per_epoch * settings.epochs),
        weight_decay=settings.weight_decay,
        max_grad_norm=MAX_GRADIENT_NORM,
        optim="adamw_torch_fused",
        bf16=choose_format(settings.precision, model) == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=True,
        logging_steps=50,
        logging_nan_inf_filter=False,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["targets"],
    )


def _require_trackers(settings: Training) -> None:
    for name in settings.report_to:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"report_to: {name}", package=name)


def _newest_checkpoint(work: Path) -> str | None:
    # Trainer writes in place and trainer_state.json last: without it a checkpoint is half of one.
    whole = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    if not whole:
        return None
    newest = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]))
    progress.say(f"going on from {newest.name}")
    return str(newest)


def _target_array(examples: Examples) -> NDArray[np.int64] | NDArray[np.float32]:
    if not examples.labels.is_multi:
        return np.array([ids[0] for ids in examples.targets], dtype=np.int64)
    out = np.zeros((len(examples), len(examples.labels.names)), dtype=np.float32)
    for row, ids in enumerate(examples.targets):
        out[row, list(ids)] = 1.0
    return out
