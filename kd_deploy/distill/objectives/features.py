"""Losses between hidden states, and what the losses over tokens share: masks, directions, matrix products."""

from typing import Literal

import torch
from torch import Tensor

from kd_deploy.distill.objectives.batch import mean_over_batch
from kd_deploy.errors import ShapeError

NO_LENGTH = 1e-6  # a shorter vector has no direction; also keeps every gradient of a normalised vector below 1e6


def hidden_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    mask: Tensor,
    distance: Literal["mse", "cosine"] = "mse",
    weights: Tensor | None = None,
) -> Tensor:
    """Distance of two layers' hidden states, token by token.

    Romero et al. 2015 (FitNets), arXiv 1412.6550; Jiao et al. 2020 (TinyBERT), arXiv 1909.10351. Where the widths
    differ, the caller projects the student's states to the teacher's width first. Averaged over each text's own
    tokens, then over the texts, so that a long text does not count more. Zero at equality; "cosine" is also zero
    wherever the directions are the same.

    Args:
        student: Hidden states, [B, S, H], any float dtype.
        teacher: Hidden states, [B, S, H]. Treated as a constant: no gradient reaches it.
        mask: 1 for a token, 0 for padding on either side, [B, S]. What stands in the padding changes nothing.
        distance: "mse" is the mean square over the width; "cosine" is 1 - cosine, and ½ where one of two vectors is 0.
        weights: How much each text counts, [B], not below 0, a constant. None: all the same.

    Returns:
        Mean over the texts, [], float32; 0 where all weights are 0.

    Raises:
        ShapeError: The two shapes differ, or the mask or the weights do not fit them.
    """
    require_same_shape(student, teacher, letters="BSH")
    student, teacher = without_padding(student, mask), without_padding(teacher.detach(), mask)
    if distance == "cosine":  # half the squared distance of unit vectors is 1 - cosine, and exactly 0 at identity
        distances = 0.5 * (directions(student) - directions(teacher)).square().sum(dim=-1)  # [B, S]
    else:
        distances = (student - teacher).square().mean(dim=-1)  # [B, S]
    return mean_over_batch(token_mean(distances, mask), weights=weights)


def cls_distance(student: Tensor, teacher: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Squared distance of the L2-normalised states of the first token, between 0 and 4.

    Sun et al. 2019 (PKD), arXiv 1908.09355. Zero where the directions are the same. A zero vector stays zero.

    Args:
        student: States of one token for each text, [B, H], any float dtype; see `pooled`.
        teacher: States, [B, H]. Treated as a constant.
        weights: How much each text counts, [B], not below 0, a constant. None: all the same.

    Returns:
        Mean over the texts, [], float32; 0 where all weights are 0.

    Raises:
        ShapeError: The two shapes differ, or the weights do not fit them.
    """
    require_same_shape(student, teacher, letters="BH")
    between = directions(student.float()) - directions(teacher.detach().float())  # [B, H]
    return mean_over_batch(between.square().sum(dim=-1), weights=weights)


def pooled(hidden: Tensor, mask: Tensor, *, how: Literal["first", "mean"]) -> Tensor:
    """One vector for each text: the state of its first token, or the mean over its tokens.

    Args:
        hidden: Hidden states, [B, S, H], any float dtype.
        mask: 1 for a token, 0 for padding, [B, S]. With padding on the left the first token is the first after it.
        how: Which of the two.

    Returns:
        Representations, [B, H], float32; zeros for a text without tokens.

    Raises:
        ShapeError: The mask does not fit the states.
    """
    hidden = without_padding(hidden, mask)
    if how == "mean":
        return hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp_min(1)  # [B, H]
    first = mask.long().argmax(dim=1)  # [B], the first of the ones
    return hidden.gather(1, first[:, None, None].expand(-1, -1, hidden.shape[2])).squeeze(1)  # [B, H], as a graph can


def directions(vectors: Tensor) -> Tensor:
    """The vectors at length 1; one shorter than 1e-6 stays as it is, so that its gradient stays finite.

    Args:
        vectors: Float32, [..., H].
    """
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)  # [..., 1]
    return vectors / torch.where(lengths > NO_LENGTH, lengths, 1.0)


def product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product in the dtype of its factors, also where a trainer's autocast would round them."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def without_padding(hidden: Tensor, mask: Tensor) -> Tensor:
    """The states in float32 with zeros in the padding, so that not even a NaN there gets any further.

    Args:
        hidden: Hidden states, [B, S, H].
        mask: 1 for a token, 0 for padding, [B, S].

    Raises:
        ShapeError: The mask does not fit the states.
    """
    if mask.shape != hidden.shape[:-1]:
        raise ShapeError(f"the mask is {list(mask.shape)}, the hidden states are {list(hidden.shape)}")
    return hidden.float().masked_fill(~mask.bool()[:, :, None], 0.0)


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over each text's own tokens, [B]; 0 for a text without tokens.

    Args:
        values: One for each token, finite, [B, S].
        mask: 1 for a token, 0 for padding, [B, S].
    """
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)


def require_same_shape(student: Tensor, teacher: Tensor, *, letters: str) -> None:
    """Refuse two tensors of other shapes than each other's, or of another number of axes than letters.

    Raises:
        ShapeError: Names both shapes.
    """
    if student.shape != teacher.shape or student.dim() != len(letters):
        raise ShapeError(
            f"the student's are {list(student.shape)}, the teacher's are {list(teacher.shape)}; "
            f"both must be the same [{', '.join(letters)}]"
        )
