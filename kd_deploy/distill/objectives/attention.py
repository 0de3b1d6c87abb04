"""Losses between attention scores and between the relations of tokens to each other."""

import math

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.objectives.batch import mean_over_batch
from kd_deploy.distill.objectives.features import product, require_same_shape, token_mean, without_padding
from kd_deploy.errors import ShapeError

NO_ATTENTION = -1e30  # softmax gives exactly 0, and unlike with -inf the difference of two such scores is a number
HIDDEN_AXES = 3


def attention_scores(queries: Tensor, keys: Tensor, *, heads: int) -> Tensor:
    """Scaled dot products of every query with every key, before any mask and softmax.

    Args:
        queries: [B, S, H], any float dtype; head after head along the width.
        keys: [B, S, H].
        heads: Number of heads; divides H.

    Returns:
        Dot products over each head's width, divided by the square root of that width, [B, A, S, S], float32.

    Raises:
        ShapeError: The two shapes differ, or the heads do not divide the width.
    """
    if queries.shape != keys.shape or queries.dim() != HIDDEN_AXES:
        raise ShapeError(
            f"the queries are {list(queries.shape)}, the keys are {list(keys.shape)}; both must be the same [B, S, H]"
        )
    width = queries.shape[-1]
    if heads < 1 or width % heads:
        raise ShapeError(f"{heads} heads do not divide the width {width}")
    by_head = *queries.shape[:-1], heads, width // heads
    asking = queries.float().reshape(by_head).transpose(1, 2)  # [B, A, S, H/A]
    asked = keys.float().reshape(by_head).permute(0, 2, 3, 1)  # [B, A, H/A, S]
    return product(asking, asked) / math.sqrt(width // heads)  # [B, A, S, S]


def attention_mse(student: Tensor, teacher: Tensor, *, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared distance of the attention scores before softmax.

    Jiao et al. 2020 (TinyBERT), arXiv 1909.10351. Only pairs of two tokens count, never padding. Averaged over each
    text's own heads and pairs, then over the texts, so that a long text does not count more. Zero exactly at equality.

    Args:
        student: Scores without a mask, [B, A, S, S], any float dtype; see `attention_scores`.
        teacher: Scores, [B, A, S, S], of as many heads. Treated as a constant: no gradient reaches it.
        mask: 1 for a token, 0 for padding on either side, [B, S]. What stands in the padding changes nothing.
        weights: How much each text counts, [B], not below 0, a constant. None: all the same.

    Returns:
        Mean over the texts, [], float32; 0 where all weights are 0.

    Raises:
        ShapeError: The two shapes differ, or the mask or the weights do not fit them.
    """
    pairs = _pairs(student, teacher, mask)  # [B, 1, S, S]
    between = student.float().masked_fill(~pairs, 0.0) - teacher.detach().float().masked_fill(~pairs, 0.0)
    squares = between.square().mean(dim=1).sum(dim=(1, 2))  # [B]
    return mean_over_batch(squares / pairs.sum(dim=(1, 2, 3)).clamp_min(1), weights=weights)


def attention_kl(student: Tensor, teacher: Tensor, *, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """KL(teacher || student) between the distributions of attention over each text's tokens.

    Wang et al. 2020 (MiniLM), arXiv 2002.10957. Averaged over heads and over each text's own query tokens, then over
    the texts, so that a long text does not count more. Zero exactly where the scores of every query differ by a
    constant.

    Args:
        student: Scores without a mask, [B, A, S, S], any float dtype; see `attention_scores`.
        teacher: Scores, [B, A, S, S], of as many heads. Treated as a constant.
        mask: 1 for a token, 0 for padding on either side, [B, S]. Padding neither asks nor is attended to.
        weights: How much each text counts, [B], not below 0, a constant. None: all the same.

    Returns:
        Mean over the texts, [], float32, in nats; 0 where all weights are 0.

    Raises:
        ShapeError: The two shapes differ, or the mask or the weights do not fit them.
    """
    pairs = _pairs(student, teacher, mask)  # [B, 1, S, S]
    log_p_student = F.log_softmax(student.float().masked_fill(~pairs, NO_ATTENTION), dim=-1)  # [B, A, S, S]
    log_p_teacher = F.log_softmax(teacher.detach().float().masked_fill(~pairs, NO_ATTENTION), dim=-1)  # [B, A, S, S]
    kl = F.kl_div(log_p_student, log_p_teacher, reduction="none", log_target=True).sum(dim=-1)  # [B, A, S]
    return mean_over_batch(token_mean(kl.mean(dim=1), mask), weights=weights)


def relation_kl(student: Tensor, teacher: Tensor, *, mask: Tensor, heads: int, weights: Tensor | None = None) -> Tensor:
    """KL(teacher || student) between how the tokens relate by their queries, keys or values.

    Wang et al. 2021 (MiniLM v2), arXiv 2012.15828: both sides are split into as many relation heads, whatever their
    widths and their numbers of attention heads, and the relation of two tokens is the scaled dot product of their
    vectors, through a softmax over the text's tokens. The value relation of the first MiniLM (arXiv 2002.10957) is
    this with values and the teacher's attention heads. Averaged over relation heads and over each text's own query
    tokens, then over the texts, so that a long text does not count more. Zero at equality.

    Args:
        student: Queries, keys or values, [B, S, Hs], any float dtype; head after head along the width.
        teacher: The same of the teacher, [B, S, Ht]. Treated as a constant.
        mask: 1 for a token, 0 for padding on either side, [B, S]. What stands in the padding changes nothing.
        heads: Number of relation heads; divides both widths.
        weights: How much each text counts, [B], not below 0, a constant. None: all the same.

    Returns:
        Mean over the texts, [], float32, in nats; 0 where all weights are 0.

    Raises:
        ShapeError: Batch or length differ, the heads do not divide both widths, or the mask or the weights do not fit.
    """
    if student.shape[:-1] != teacher.shape[:-1] or student.dim() != HIDDEN_AXES:
        raise ShapeError(
            f"the student's are {list(student.shape)}, the teacher's are {list(teacher.shape)}; "
            "both must be [B, S, width] of the same B and S"
        )
    widths = student.shape[-1], teacher.shape[-1]
    if heads < 1 or any(width % heads for width in widths):
        raise ShapeError(
            f"{heads} relation heads do not divide both the student's width {widths[0]} and the teacher's {widths[1]}"
        )
    student, teacher = without_padding(student, mask), without_padding(teacher.detach(), mask)
    relations_student = attention_scores(student, student, heads=heads)  # [B, A, S, S]
    relations_teacher = attention_scores(teacher, teacher, heads=heads)  # [B, A, S, S]
    return attention_kl(relations_student, relations_teacher, mask=mask, weights=weights)


def _pairs(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    # Which query and key are both tokens, [B, 1, S, S].
    require_same_shape(student, teacher, letters="BASS")
    if tuple(mask.shape) != (student.shape[0], student.shape[-1]):
        raise ShapeError(f"the mask is {list(mask.shape)}, the attention scores are {list(student.shape)}")
    tokens = mask.bool()
    return tokens[:, None, :, None] & tokens[:, None, None, :]
