"""Losses between the student's logits and the teacher's: squared distance, and KL in its plain forms."""

import torch
from torch import Tensor

from kd_deploy.distill.objectives.batch import kl, mean_over_batch, same_shape, softened
from kd_deploy.errors import ShapeError

FEWEST_TO_STANDARDISE = 3
FEWEST_TO_DECOUPLE = 2
SMALLEST_VARIANCE = 1e-6


def yes_or_no(logits: Tensor) -> Tensor:
    """Each class as a distribution of its own over yes and no, [B, C, 2].

    The pair (z, 0): its softmax is (sigmoid(z), 1 - sigmoid(z)). A divergence of such logits is the sum over
    the classes of the divergences of their yes-or-no answers: what several labels need.

    Args:
        logits: One for each class, [B, C].
    """
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


def standardise(logits: Tensor) -> Tensor:
    """The z-scores of each row over its classes, [B, ..., K], float32.

    Sun et al. 2024, "Logit standardization in knowledge distillation", arXiv 2403.01427. Used on both sides
    before a divergence, it frees the student from the size of the teacher's logits: only their pattern counts.
    The gradient goes through mean and deviation. A row of equal logits becomes zeros.

    Args:
        logits: [B, ..., K], K at least 3, any float dtype.

    Raises:
        ShapeError: There are fewer than 3 classes. The z-scores of two are 1 and -1 whatever the logits are,
            so nothing would be learned.
    """
    if logits.shape[-1] < FEWEST_TO_STANDARDISE:
        raise ShapeError(
            f"logits are {list(logits.shape)}: the z-scores of {logits.shape[-1]} classes are always the same",
            hint="standardise logits over 3 classes or more",
        )
    variance, mean = torch.var_mean(logits.float(), dim=-1, correction=0, keepdim=True)  # [B, ..., 1]
    return (logits.float() - mean) / (variance + SMALLEST_VARIANCE).sqrt()


def logit_mse(student: Tensor, teacher: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean squared distance of the logits.

    Ba and Caruana 2014, "Do deep nets really need to be deep?", arXiv 1312.6184; for LSTM students
    Tang et al. 2019, arXiv 1903.12136. Zero exactly at equality.

    Args:
        student: Logits, [B, ..., K].
        teacher: Logits, [B, ..., K]. Treated as a constant.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Mean over batch, classes and middle axes, [], float32.

    Raises:
        ShapeError: The two shapes differ, or the weights are not [B].
    """
    same_shape(student, teacher)
    squares = (student.float() - teacher.detach().float()).square()  # [B, ..., K]
    return mean_over_batch(squares.flatten(1).mean(dim=1), weights=weights)


def soft_target_kl(
    student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 2.0, weights: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) between temperature-softened class distributions.

    Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv 1503.02531.
    Multiplied by temperature², so that its gradient keeps its size next to the hard-label term when the
    temperature moves. Zero exactly when the two rows of logits differ by a constant.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant: no gradient reaches it.
        temperature: Above 0, or one for each example, [B]; 1.0 leaves both distributions as they are.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature is not above 0.
    """
    pair = softened(student, teacher, temperature=temperature)
    return pair.mean(kl(pair.teacher, pair.student), weights=weights)


def reverse_kl(
    student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 2.0, weights: Tensor | None = None
) -> Tensor:
    """KL(student || teacher) between temperature-softened class distributions.

    Gu et al. 2024, "MiniLLM", arXiv 2306.08543. The student is punished for what the teacher holds unlikely,
    not for what it leaves out: a student too small for all of the teacher's modes settles on the largest.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        temperature: Above 0, or one for each example, [B]. The loss is multiplied by its square.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature is not above 0.
    """
    pair = softened(student, teacher, temperature=temperature)
    return pair.mean(kl(pair.student, pair.teacher), weights=weights)


def decoupled(
    student: Tensor,
    teacher: Tensor,
    *,
    targets: Tensor,
    temperature: float | Tensor = 2.0,
    alpha: float = 1.0,
    beta: float = 2.0,
    weights: Tensor | None = None,
) -> Tensor:
    """KL(teacher || student) in its two parts: target class or not, and which of the others.

    Zhao et al. 2022, "Decoupled knowledge distillation", arXiv 2203.08679. The plain KL is the first part plus
    (1 - the teacher's probability of the target) times the second, so where the teacher is sure it hardly
    teaches how the other classes compare. Here the second part has a weight of its own.

    Args:
        student: Logits, [B, ..., K], K at least 2. With two classes the second part is 0.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        targets: Labelled classes, [B, ...], int64.
        temperature: Above 0, or one for each example, [B]. The loss is multiplied by its square.
        alpha: Weight of target class or not (TCKD).
        beta: Weight of the distribution among the other classes (NCKD).
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The shapes do not fit, or there is one class only.
        TrainingError: The temperature is not above 0.
    """
    pair = softened(student, teacher, temperature=temperature)
    classes = student.shape[-1]
    if targets.shape != student.shape[:-1] or classes < FEWEST_TO_DECOUPLE:
        raise ShapeError(
            f"targets are {list(targets.shape)}, logits are {list(student.shape)}",
            hint="one target for each distribution, over 2 classes or more",
        )
    is_target = torch.zeros_like(student, dtype=torch.bool).scatter(-1, targets[..., None], value=True)  # [B, ..., K]
    student_answer, student_others = _target_and_others(pair.student, is_target)
    teacher_answer, teacher_others = _target_and_others(pair.teacher, is_target)
    target_part = kl(teacher_answer, student_answer)  # [B]
    others_part = kl(teacher_others, student_others)  # [B]: the target's place, 0 on both sides, adds nothing
    return pair.mean(alpha * target_part + beta * others_part, weights=weights)


# Log-probabilities of (the target, any other class), [B, ..., 2], and of the others among themselves, [B, ..., K],
# the target's place holding 0. The sum over the others, and not 1 - p, keeps its digits where p is nearly 1.
def _target_and_others(log_p: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    target = log_p.masked_fill(~is_target, 0).sum(dim=-1, keepdim=True)  # [B, ..., 1]
    rest = log_p.masked_fill(is_target, -torch.inf).logsumexp(dim=-1, keepdim=True)  # [B, ..., 1]
    return torch.cat([target, rest], dim=-1), (log_p - rest).masked_fill(is_target, 0)
