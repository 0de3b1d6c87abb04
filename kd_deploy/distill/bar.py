"""What the command line sees of a training: a bar, and what each epoch reached."""

from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback

from kd_deploy import progress


class Bar(TrainerCallback):  # type: ignore[misc]
    """Moves the command line's bar, and says what each epoch reached."""

    def __init__(self, description: str, metric: str) -> None:
        self._description = description
        self._metric = metric
        self._steps: Iterator[int] = iter(())

    def on_train_begin(self, _args: object, state: Any, _control: object, **_: object) -> None:
        """Start the bar where the checkpoint left off."""
        remaining = range(state.global_step, state.max_steps)
        self._steps = progress.track(remaining, self._description, total=len(remaining))

    def on_step_end(self, _args: object, _state: object, _control: object, **_: object) -> None:
        """One step further."""
        next(self._steps, None)

    def on_evaluate(self, _args: object, state: Any, _control: object, metrics: dict[str, float], **_: object) -> None:
        """What validation says."""
        value = metrics[f"eval_{self._metric}"]
        progress.say(f"{self._description}: epoch {round(state.epoch or 0)}, validation {self._metric} {value:.4f}")

    def on_train_end(self, _args: object, state: Any, _control: object, **_: object) -> None:
        """Close the bar, wherever it stands: its iterator goes; and say so where patience ended the training."""
        self._steps = iter(())
        if state.global_step < state.max_steps:
            epochs = f"epoch {round(state.epoch or 0)} of {state.num_train_epochs}"
            progress.say(f"{self._description}: ended after {epochs}, since no better one came on validation")
