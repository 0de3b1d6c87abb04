"""How a training is set up for Trainer: its arguments, when it ends early, where it goes on from."""

import contextlib
import importlib
import importlib.util
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

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


@contextlib.contextmanager
def followed(trainer: Trainer, *, name: str, logs: Path | None) -> Iterator[None]:
    """Let trackers know a training by its name, and end it: another one of this process is not a part of it.

    Args:
        trainer: Before it trains.
        name: Of the training.
        logs: Where tensorboard writes; None: where Trainer has it.
    """
    trainer.args.run_name = name
    for one in trainer.callback_handler.callbacks:
        if isinstance(one, TensorBoardCallback) and logs is not None:
            one.logging_dir = one.logging_dir or str(logs)  # TENSORBOARD_LOGGING_DIR goes before
    try:
        yield
    finally:
        if "wandb" in trainer.args.report_to:
            importlib.import_module("wandb").finish()


def newest_checkpoint(work: Path, *, steps: int) -> Path | None:
    """The checkpoint from which a broken-off training goes on; None: it starts anew.

    One that was cut off while it was written is passed over, and so is one of another number of steps: with another
    number of processes an epoch is not as many of them, and Trainer would count the epochs wrongly.

    Args:
        work: Where checkpoints are.
        steps: Of the whole training.
    """
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for one in found:
        taken = _steps_of(one)
        if taken == steps:
            progress.say(f"going on from {one.name}")
            return one
        why = "is not whole" if taken is None else f"is of a training of {taken} steps, and this one takes {steps}"
        progress.say(f"{one.name} {why}: passed over")
    return None


def _steps_of(checkpoint: Path) -> int | None:
    """How many steps the training of a checkpoint was to take; None where it is not whole."""
    try:  # Trainer writes in place, trainer_state.json last
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in checkpoint.glob("*.safetensors"):
            with safe_open(weights, framework="pt"):
                pass
        whole = all(zipfile.is_zipfile(one) for one in checkpoint.glob("*.pt"))
        return int(state["max_steps"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


class Best(TrainerCallback):  # type: ignore[misc]
    """Finds the best checkpoint again where the folder of all of them was moved: Trainer knows it by its whole path."""

    def on_train_begin(self, args: Any, state: Any, *_: object, **__: object) -> None:
        """Name it where it lies now."""
        here = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if state.best_global_step and here.is_dir():
            state.best_model_checkpoint = str(here)
