"""Other distances between the class distributions: through a mixture, by powers of them, by correlation."""

import math
from typing import Literal

import torch
from torch import Tensor

from kd_deploy.distill.objectives.batch import kl, softened, sum_of_rows
from kd_deploy.errors import TrainingError
from kd_deploy.recipe.objective import SMALLEST_POWER

SMALLEST_SQUARE = 1e-8


def jensen_shannon(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 2.0,
    beta: float = 0.5,
    weights: Tensor | None = None,
) -> Tensor:
    """Generalised Jensen-Shannon divergence: both distributions against their mixture.

    beta KL(teacher || m) + (1 - beta) KL(student || m), where m = beta teacher + (1 - beta) student: GKD,
    Agarwal et al. 2024, arXiv 2306.13649. Bounded, unlike KL: at most log 2 at temperature 1. Near a beta of
    0 it is beta times the forward KL, near 1 it is (1 - beta) times the reverse KL: give it the more weight.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        temperature: Above 0, or one for each example, [B]. The loss is multiplied by its square.
        beta: The teacher's share of the mixture, between 0 and 1 and neither.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature or beta is out of its range.
    """
    if not 0 < beta < 1:
        raise TrainingError(f"beta is {beta}", hint="a Jensen-Shannon divergence needs one between 0 and 1")
    pair = softened(student, teacher, temperature=temperature)
    mixture = _log_mixture(pair.teacher, pair.student, share=beta)  # [B, ..., K]
    rows = beta * kl(pair.teacher, mixture) + (1 - beta) * kl(pair.student, mixture)  # [B]
    return pair.mean(rows, weights=weights)


def skew_kl(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 2.0,
    skew: float = 0.1,
    direction: Literal["forward", "reverse"] = "forward",
    weights: Tensor | None = None,
) -> Tensor:
    """KL from one distribution to the other mixed with a share of itself.

    DistiLLM, Ko et al. 2024, arXiv 2402.03898. Forward: KL(teacher || skew teacher + (1 - skew) student).
    Reverse: KL(student || skew student + (1 - skew) teacher). The share bounds the ratio of the two by 1 / skew,
    and with it the gradient; a skew of 0 is the plain KL.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        temperature: Above 0, or one for each example, [B]. The loss is multiplied by its square.
        skew: Share of the first distribution in the mixture, from 0 to below 1.
        direction: Which distribution comes first: the teacher's (forward) or the student's (reverse).
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature or the skew is out of its range.
    """
    if not 0 <= skew < 1:
        raise TrainingError(f"skew is {skew}", hint="it goes from 0 to below 1")
    pair = softened(student, teacher, temperature=temperature)
    first, second = (pair.teacher, pair.student) if direction == "forward" else (pair.student, pair.teacher)
    return pair.mean(kl(first, _log_mixture(first, second, share=skew)), weights=weights)


def alpha_beta(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 2.0,
    alpha: float = 0.2,
    beta: float = 0.7,
    weights: Tensor | None = None,
) -> Tensor:
    """The alpha-beta divergence of the student's distribution q from the teacher's p.

    -1 / (alpha beta) sum(p^alpha q^beta - alpha / (alpha + beta) p^(alpha + beta)
    - beta / (alpha + beta) q^(alpha + beta)): ABKD, Wang et al. 2025, arXiv 2505.04560. Alpha 1 and beta 0 is
    KL(p || q), alpha 0 and beta 1 is KL(q || p), as limits that are computed exactly. A smaller alpha dwells on
    the classes with large errors, a larger beta on those that the student is sure of.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        temperature: Above 0, or one for each example, [B]. The loss is multiplied by its square.
        alpha: Power of the teacher's probabilities, 0 or above.
        beta: Power of the student's, 0 or above; alpha + beta at least 0.01.
        weights: How much each example counts, [B]; None: all the same.

    Returns:
        Sum over classes and middle axes, mean over the batch, [], float32.

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature, alpha or beta is out of its range. Powers below 0 are refused, since
            they have no bound in float32 where a probability is nearly 0.
    """
    if not (alpha >= 0 and beta >= 0 and alpha + beta >= SMALLEST_POWER):
        raise TrainingError(
            f"alpha is {alpha}, beta is {beta}",
            hint=f"both have to be 0 or above, and their sum {SMALLEST_POWER} or above",
        )
    pair = softened(student, teacher, temperature=temperature)
    log_p, log_q = pair.teacher, pair.student
    if alpha < beta:  # the divergence is the same with p and q, alpha and beta exchanged: divide by the larger
        log_p, log_q, alpha, beta = log_q, log_p, beta, alpha
    both = _power(log_q, alpha + beta) - _power(log_p, alpha + beta)  # [B, ..., K]
    cross = (alpha * log_p).exp() * (_power(log_q, beta) - _power(log_p, beta))  # [B, ..., K]
    return pair.mean(sum_of_rows(both - cross) / alpha, weights=weights)


def relational(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor = 2.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """How far the probabilities are from correlating, within each example and within each class.

    DIST, Huang et al. 2022, "Knowledge distillation from a stronger teacher", arXiv 2205.10536: beta times the
    mean over the rows of 1 - Pearson's correlation with the teacher's row, plus gamma times the same mean over
    the columns of the batch. A weak student need not match the teacher's numbers, only how they compare.
    With two classes a row correlates fully or not at all, so only the columns teach. Middle axes are laid beside
    the classes: the rows of `yes_or_no` logits are the answers to all the questions.

    Args:
        student: Logits, [B, ..., K], any float dtype.
        teacher: Logits, [B, ..., K]. Treated as a constant.
        temperature: Above 0, or one for each example, [B]. Rows are multiplied by the square of their own,
            columns by the mean of the squares.
        beta: Weight of the rows: between classes.
        gamma: Weight of the columns: within a class. They are 0 for a batch of one.
        weights: How much each row counts, [B]; None: all the same. The columns do not see them.

    Returns:
        [], float32, from 0 to 2 (beta + gamma) times temperature².

    Raises:
        ShapeError: The two shapes differ, or temperature or weights are not [B].
        TrainingError: The temperature is not above 0.
    """
    pair = softened(student, teacher, temperature=temperature)
    ours, theirs = pair.student.exp().flatten(1), pair.teacher.exp().flatten(1)  # [B, C]
    columns = _correlation_distance(ours.T, theirs.T).mean() * pair.squared.mean()  # []
    return beta * pair.mean(_correlation_distance(ours, theirs), weights=weights) + gamma * columns


# log(share p + (1 - share) q), from log p and log q.
def _log_mixture(log_p: Tensor, log_q: Tensor, *, share: float) -> Tensor:
    if share == 0:
        return log_q
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


# (p^exponent - 1) / exponent, which goes to log p as the exponent goes to 0. Without the -1, the differences
# of two such powers would lose their digits to 1 / exponent.
def _power(log_p: Tensor, exponent: float) -> Tensor:
    if exponent == 0:
        return log_p
    return torch.expm1(exponent * log_p) / exponent


# 1 - Pearson's correlation over the last axis, with a small square added to each of the three sums: two constant
# rows have a distance of 0, one constant row a distance of nearly 1, and the gradient is finite in both cases.
def _correlation_distance(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(dim=-1, keepdim=True), y - y.mean(dim=-1, keepdim=True)
    x_squared, y_squared = (z.square().sum(dim=-1) + SMALLEST_SQUARE for z in (x, y))
    return 1 - ((x * y).sum(dim=-1) + SMALLEST_SQUARE) / (x_squared * y_squared).sqrt()
