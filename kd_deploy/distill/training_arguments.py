"""How a training is set up for Trainer: its arguments, when it ends early, where it goes on from."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from kd_deploy import progress
from kd_deploy.distill.precision import choose_format
from kd_deploy.errors import MissingExtraError
from kd_deploy.measurement import LOWER_IS_BETTER
from kd_deploy.recipe import Training

MAX_GRADIENT_NORM = 1.0
USUAL_RATE = 5e-5  # of a teacher; a student has its own


def training_arguments(
    model: nn.Module, settings: Training, *, work: Path, metric: str | None, steps: int
) -> TrainingArguments:
    """The settings of a training as Trainer takes them.

    Args:
        model: That is trained.
        settings: The recipe's.
        work: Where checkpoints go.
        metric: What the best epoch is chosen by; None: the last is kept.
        steps: Of the whole training.
    """
    made = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate or USUAL_RATE,
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=MAX_GRADIENT_NORM,
        optim="adamw_torch_fused",
        bf16=choose_format(settings.precision, model) == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=metric is not None,
        metric_for_best_model=metric,
        greater_is_better=metric not in LOWER_IS_BETTER,
        logging_steps=50,
        logging_nan_inf_filter=False,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["targets"],
    )
    # With several GPUs and no launcher, Trainer would deal each batch out to all of them by nn.DataParallel, which
    # gives a loss for each. One trains; torchrun takes them all.
    made._n_gpu = min(1, made.n_gpu)  # noqa: SLF001 - there is no argument for it
    return made


class Patience(EarlyStoppingCallback):  # type: ignore[misc]
    """Ends a training after so many epochs without a better one, those before it was broken off among them."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **further: object) -> None:
        """Count the epochs since the best one that the checkpoint knows."""
        super().on_train_begin(args, state, control, **further)
        steps_per_epoch = max(1, state.max_steps // max(1, state.num_train_epochs))
        since_best = state.global_step - (state.best_global_step or 0)
        self.early_stopping_patience_counter = since_best // steps_per_epoch


def stopping(settings: Training) -> list[TrainerCallback]:
    """What ends a training early, where it is asked for."""
    return [Patience(early_stopping_patience=settings.patience)] if settings.patience else []


def require_trackers(settings: Training) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        MissingExtraError: Naming it.
    """
    for name in settings.report_to:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"report_to: {name}", package=name)


def newest_checkpoint(work: Path) -> str | None:
    """The checkpoint from which a broken-off training goes on; None: it starts anew."""
    # Trainer writes in place and trainer_state.json last: without it a checkpoint is half of one.
    whole = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    if not whole:
        return None
    newest = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]))
    progress.say(f"going on from {newest.name}")
    return str(newest)
