"""Losses between the student's logits and the teacher's."""

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.errors import ShapeError


def soft_target_kl(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """KL(teacher || student) between temperature-softened class distributions.

    Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv 1503.02531.
    Multiplied by temperature², so that its gradient keeps its size next to the hard-label term when the
    temperature moves. Zero exactly when the two rows of logits differ by a constant.

    Args:
        student: Logits, [B, C], any float dtype.
        teacher: Logits, [B, C]. Treated as a constant: no gradient reaches it.
        temperature: Above 0; 1.0 leaves both distributions as they are.

    Returns:
        Mean over the batch, [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ.
    """
    _same_shape(student, teacher)
    log_p_student = F.log_softmax(student.float() / temperature, dim=-1)  # [B, C]
    log_p_teacher = F.log_softmax(teacher.detach().float() / temperature, dim=-1)  # [B, C]
    kl = F.kl_div(log_p_student, log_p_teacher, reduction="batchmean", log_target=True)  # []
    return kl * temperature**2


def soft_target_bernoulli_kl(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """KL(teacher || student) summed over independent yes-or-no classes: soft targets for several labels.

    Args:
        student: Logits, [B, C].
        teacher: Logits, [B, C]. Treated as a constant.
        temperature: Above 0.

    Returns:
        Mean over the batch of the sum over classes, times temperature², [], float32, in nats.

    Raises:
        ShapeError: The two shapes differ.
    """
    _same_shape(student, teacher)
    scaled_student, scaled_teacher = student.float() / temperature, teacher.detach().float() / temperature
    p_teacher = scaled_teacher.sigmoid()  # [B, C]
    yes = p_teacher * (F.logsigmoid(scaled_teacher) - F.logsigmoid(scaled_student))
    no = (1 - p_teacher) * (F.logsigmoid(-scaled_teacher) - F.logsigmoid(-scaled_student))
    return (yes + no).sum(dim=-1).mean() * temperature**2


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of the logits.

    Ba and Caruana 2014, "Do deep nets really need to be deep?", arXiv 1312.6184; for LSTM students
    Tang et al. 2019, arXiv 1903.12136. Zero exactly at equality.

    Args:
        student: Logits, [B, C].
        teacher: Logits, [B, C]. Treated as a constant.

    Returns:
        Mean over batch and classes, [], float32.

    Raises:
        ShapeError: The two shapes differ.
    """
    _same_shape(student, teacher)
    return F.mse_loss(student.float(), teacher.detach().float())


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ShapeError(f"student logits are {list(student.shape)}, teacher's are {list(teacher.shape)}")
