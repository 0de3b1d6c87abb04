"""Examples as the trainer's loader asks for them: by number, then padded to a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kd_deploy.distill.learner import MASK, TEACHER, WRITTEN
from kd_deploy.distill.redrawing import Redraw
from kd_deploy.distill.signals import Signals
from kd_deploy.generation import Generation
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput
from kd_deploy.tasks.pieces import encode
from kd_deploy.tasks.registry import hides, task_of, writes
from kd_deploy.tasks.task import NO_DECISION, Examples, Piece

WRITE = Generation()
TASK = "task"  # the number of a batch's task, where it is not the first


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a model is trained on: texts with labels, texts without, and what the teacher says of both.

    The inputs are those of `examples`, then those of `unlabeled`; the rows are their pieces. `signals` and `weights`,
    how much the teacher counts, [N] from 0 to 1, go by the rows. `rows` are those that take part; None: all.
    `generation` says how texts are written where a model is judged by those.
    """

    examples: Examples
    encoder: Encoder
    signals: Signals | None = None
    unlabeled: Sequence[TextInput] = ()
    weights: NDArray[np.float32] | None = None
    rows: NDArray[np.int64] | None = None
    generation: Generation = WRITE

    @property
    def inputs(self) -> tuple[TextInput, ...]:
        """All texts."""
        return (*self.examples.inputs, *self.unlabeled)

    @property
    def pieces(self) -> Sequence[Piece]:
        """All texts in pieces of the length that a model reads."""
        return task_of(self.examples.labels).pieces(self.inputs, self.encoder)


class Rows(Dataset[dict[str, Any]]):
    """The rows that take part, encoded, by number. `epoch` is the one that they are asked for in."""

    def __init__(self, data: TrainingData, *, task: int = 0, seed: int = 0) -> None:
        """Encode every text once.

        Args:
            data: The rows of a task.
            task: Its number among the tasks that are learned together.
            seed: Of the tokens that are hidden anew each time, where the task is to fill them in.
        """
        self.epoch = 0
        self._task = task
        kind, pieces = task_of(data.examples.labels), data.pieces
        encoded = encode(pieces, data.encoder, task=kind)
        aims = kind.aims(data.examples, pieces, encoded, encoder=data.encoder)
        self._numbers = np.arange(len(encoded)) if data.rows is None else data.rows
        # Where tokens stand in their texts was for the aims alone, and takes most of the memory.
        self.encoded = [replace(encoded[row], places=None) for row in self._numbers]
        self._targets = [aims[row] for row in self._numbers]
        self._writes = writes(data.examples.labels)
        self._signals = data.signals
        self._weights = data.weights
        self._redraw = Redraw(data.encoder.tokenizer, seed=seed) if hides(data.examples.labels) else None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, [N]; of a text and the text to be written, the longer one's."""
        if not self._writes:
            return [len(one) for one in self.encoded]
        return [max(len(one), len(target)) for one, target in zip(self.encoded, self._targets, strict=True)]

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> dict[str, Any]:
        number = int(self._numbers[row])
        teacher = {} if self._signals is None else self._signals.of(number)
        weight = None if self._weights is None else self._weights[number]
        encoded, target = self.encoded[row], self._targets[row]
        if self._redraw is not None:
            encoded, target = self._redraw(encoded, target, row=number, epoch=self.epoch)
        return {
            "encoded": encoded,
            "target": target,
            "teacher": teacher,
            "weight": weight,
            "task": self._task,
        }


@dataclass(frozen=True, slots=True)
class Collate:
    """Rows of one task to a batch of tensors, padded to its longest text."""

    encoder: Encoder
    names: Sequence[str]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The arrays [B, S] of the model, `targets`, `weights`, and the teacher's signals as `teacher:NAME`.

        Where these are of tokens, `teacher:mask` [B, T] says which of them are there.

        Where the rows are not those of the first task, its number as `task` too.
        """
        encoded: list[Encoded] = [row["encoded"] for row in rows]
        names = [name for name in self.names if name != WRITTEN]
        arrays = self.encoder.collate(encoded, input_names=names)
        batch: dict[str, Any] = {name: torch.from_numpy(value) for name, value in arrays.items()}
        batch["targets"] = torch.from_numpy(_aims([row["target"] for row in rows]))
        if WRITTEN in self.names:
            batch[WRITTEN] = before(batch["targets"], self.encoder)
        if rows[0]["weight"] is not None:
            batch["weights"] = torch.from_numpy(np.stack([row["weight"] for row in rows]))
        for name in rows[0]["teacher"]:
            values = [row["teacher"][name] for row in rows]
            batch[TEACHER + name] = torch.from_numpy(_padded(values))
            if values[0].ndim > 1 and TEACHER + MASK not in batch:  # another tokenizer may have cut the texts
                batch[TEACHER + MASK] = torch.from_numpy(_padded([np.ones(len(one), dtype=np.int64) for one in values]))
        if rows[0]["task"]:
            batch[TASK] = rows[0]["task"]
        return batch


def before(targets: Tensor, encoder: Encoder) -> Tensor:
    """What a decoder is given to say the targets: the start marks, then all targets but the last, [B, T].

    Args:
        targets: Token ids [B, T]; NO_DECISION at the places of further start marks, and as padding.
        encoder: Knows the marks and the id of padding.
    """
    starts = encoder.marks.starts
    given = torch.full_like(targets, encoder.pad_id)
    given[:, 1:] = targets[:, :-1].masked_fill(targets[:, :-1] < 0, encoder.pad_id)
    given[:, : len(starts)] = torch.tensor(starts)
    return given


def _aims(values: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """The aims of a batch: stacked, or [B, S] where they are of tokens, with none at padding."""
    shapes = {np.shape(one) for one in values}
    if len(shapes) == 1:
        return np.stack(values)
    out = np.full((len(values), max(len(one) for one in values)), NO_DECISION, dtype=values[0].dtype)
    for row, one in enumerate(values):
        out[row, : len(one)] = one
    return out


def _padded(values: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Rows of one length, stacked; or of several, [n] or [n, W], padded on the right with zeros."""
    longest = max(len(one) for one in values)
    if all(len(one) == longest for one in values):
        return np.stack(values)
    out = np.zeros((len(values), longest, *values[0].shape[1:]), dtype=values[0].dtype)
    for row, one in enumerate(values):
        out[row, : len(one)] = one
    return out
