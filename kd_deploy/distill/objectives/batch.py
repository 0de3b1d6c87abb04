"""What the losses share: shapes that must agree, a temperature for each example, the mean over the batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.errors import ShapeError, TrainingError

FEWEST_AXES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Softened:
    """The class distributions of student and teacher, softened by the temperature of each example."""

    student: Tensor  # log-probabilities, [B, ..., K], float32
    teacher: Tensor  # log-probabilities, [B, ..., K], float32, no gradient
    squared: Tensor  # temperature², [B] or [], float32

    def mean(self, rows: Tensor, *, weights: Tensor | None = None) -> Tensor:
        """The mean over the batch of rows times temperature², [], so that gradients keep their size.

        Args:
            rows: One loss for each example, [B].
            weights: How much each example counts, [B]; None: all the same.
        """
        return mean_over_batch(rows * self.squared, weights=weights)


def softened(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Softened:
    """Both distributions, as log-probabilities in float32, the teacher's without gradient.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K].
        temperature: Above 0: one number, or one for each example, [B]. The values of a tensor are not
            checked: on an accelerator the check would wait for the device.

    Raises:
        ShapeError: The two shapes differ, or the temperature is not [B].
        TrainingError: A temperature that is a number and not above 0.
    """
    same_shape(student, teacher)
    if isinstance(temperature, Tensor):
        each = one_for_each("temperatures", temperature, batch=len(student))  # [B]
    elif temperature > 0:
        each = student.new_full((), temperature, dtype=torch.float32)  # []
    else:
        raise TrainingError(f"temperature is {temperature}", hint="it has to be above 0")
    divisor = each.reshape(-1, *[1] * (student.dim() - 1))  # [B or 1, 1, ..., 1]
    return Softened(
        student=F.log_softmax(student.float() / divisor, dim=-1),
        teacher=F.log_softmax(teacher.detach().float() / divisor, dim=-1),
        squared=each.square(),
    )


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each example, [B]: summed over the classes and over the middle axes.

    Args:
        log_p: Log-probabilities, [B, ..., K].
        log_q: Log-probabilities, [B, ..., K].
    """
    return sum_of_rows(log_p.exp() * (log_p - log_q))


def sum_of_rows(values: Tensor) -> Tensor:
    """The sum over all axes but the first, [B]."""
    return values.flatten(1).sum(dim=1)


def mean_over_batch(rows: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """The mean of the rows, each counting by its weight, []; 0 where no row counts.

    Args:
        rows: One loss for each example, [B].
        weights: 0 or above, [B], treated as constants; None: all the same.

    Raises:
        ShapeError: The weights are not [B].
    """
    if weights is None:
        return rows.mean()
    counts = one_for_each("weights", weights, batch=len(rows))  # [B]
    # The smallest float in place of a sum of 0: the loss is then 0 and not nan.
    return (counts * rows).sum() / counts.sum().clamp(min=torch.finfo(torch.float32).tiny)


def one_for_each(name: str, values: Tensor, *, batch: int) -> Tensor:
    """The values in float32 and without gradient, once it is sure that there is one for each example, [B].

    Raises:
        ShapeError: They are not [B].
    """
    if values.shape != (batch,):
        raise ShapeError(f"{name} are {list(values.shape)}, and the batch has {batch} rows", hint="give one for each")
    return values.detach().float()


def same_shape(student: Tensor, teacher: Tensor) -> None:
    """Nothing, where both are logits of the same shape.

    Raises:
        ShapeError: The shapes differ, or have no axis of classes beside that of the batch.
    """
    if student.shape != teacher.shape:
        raise ShapeError(f"student logits are {list(student.shape)}, teacher's are {list(teacher.shape)}")
    if student.dim() < FEWEST_AXES:
        raise ShapeError(f"logits are {list(student.shape)}", hint="[B, ..., K]: a batch first, its classes last")
