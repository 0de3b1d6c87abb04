"""Losses over a whole batch: how the student's and the teacher's representations of its texts lie to each other."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.objectives.features import NO_LENGTH, directions, product, require_same_shape
from kd_deploy.errors import ShapeError

REPRESENTATION_AXES = 2


def distance_relations(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the distances of every two texts of the batch, in units of their mean.

    Park et al. 2019 (RKD), arXiv 1904.05068. The mean distance is taken on each side by itself, over the pairs of two
    different rows; a mean below 1e-6 divides nothing. Zero wherever the student's representations are the teacher's
    moved, turned, mirrored or scaled.

    Args:
        student: Representations, [B, Hs], any float dtype.
        teacher: Representations, [B, Ht], of any width. Treated as a constant: no gradient reaches it.

    Returns:
        Mean over the B(B - 1) / 2 pairs, [], float32; 0 for a single text.

    Raises:
        ShapeError: The batches differ.
    """
    _require_same_batch(student, teacher)
    losses = F.smooth_l1_loss(_distances(student), _distances(teacher.detach()), reduction="none")  # [pairs]
    return losses.sum() / max(1, len(losses))


def angle_relations(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the cosines of the angles that every three texts of the batch form.

    Park et al. 2019 (RKD), arXiv 1904.05068. Two rows that are the same leave an angle without a side: its cosine is
    taken as 0. Zero wherever the student's representations are the teacher's moved, turned, mirrored or scaled.
    Memory grows with the square of the batch times the width, and with its cube.

    Args:
        student: Representations, [B, Hs], any float dtype.
        teacher: Representations, [B, Ht], of any width. Treated as a constant.

    Returns:
        Mean over the B(B - 1)(B - 2) ordered triples of different rows, [], float32; 0 for fewer than three texts.

    Raises:
        ShapeError: The batches differ.
    """
    _require_same_batch(student, teacher)
    size = len(student)
    losses = F.smooth_l1_loss(_cosines(student), _cosines(teacher.detach()), reduction="sum")  # []
    return losses / max(1, size * (size - 1) * (size - 2))


def similarity_matrix(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of the two row-normalised matrices that say which texts of the batch are alike.

    Tung and Mori 2019 (similarity-preserving), arXiv 1907.09682: the matrix is that of all dot products, [B, B], each
    row at length 1. Zero wherever the student's representations are the teacher's turned, mirrored or scaled.

    Args:
        student: Representations, [B, Hs], any float dtype.
        teacher: Representations, [B, Ht], of any width. Treated as a constant.

    Returns:
        Sum of squares divided by B², [], float32.

    Raises:
        ShapeError: The batches differ.
    """
    _require_same_batch(student, teacher)
    student, teacher = student.float(), teacher.detach().float()
    return F.mse_loss(directions(product(student, student.T)), directions(product(teacher, teacher.T)))


def contrastive(student: Tensor, teacher: Tensor, *, temperature: float = 0.05) -> Tensor:
    """InfoNCE: cross-entropy of finding the teacher's representation of the same text within the batch.

    After van den Oord et al. 2018, arXiv 1807.03748, and contrastive representation distillation, Tian et al. 2020,
    arXiv 1910.10699; here the negatives are the other texts of the batch, not a memory bank, so a larger batch is a
    harder question, and a text that stands twice in a batch is its own negative. Small but not zero at identity: the
    negatives always keep a share. Its minimum is not exactly at identity either, as it also rewards distance from the
    other texts.

    Args:
        student: Representations, [B, H], any float dtype; L2-normalised here.
        teacher: Representations, [B, H]. Treated as a constant.
        temperature: Above 0; the cosines are divided by it.

    Returns:
        Mean over the batch, [], float32, in nats; 0 for a single text.

    Raises:
        ShapeError: The two shapes differ.
    """
    require_same_shape(student, teacher, letters="BH")
    cosines = product(directions(student.float()), directions(teacher.detach().float()).T)  # [B, B]
    return F.cross_entropy(cosines / temperature, torch.arange(len(cosines), device=cosines.device))


def _distances(vectors: Tensor) -> Tensor:
    vectors = vectors.float()
    one, other = torch.triu_indices(len(vectors), len(vectors), offset=1, device=vectors.device)  # [pairs] each
    lengths: Tensor = torch.linalg.vector_norm(vectors[one] - vectors[other], dim=-1)  # [pairs]
    mean = lengths.sum() / max(1, len(lengths))
    return lengths / torch.where(mean > NO_LENGTH, mean, 1.0)


def _cosines(vectors: Tensor) -> Tensor:
    vectors = vectors.float()
    sides = directions(vectors[None, :] - vectors[:, None])  # [B, B, H], from the vertex in the first axis
    different = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)  # [B, B]
    triples = different[:, :, None] & different[:, None, :] & different[None, :, :]  # [B, B, B]
    return product(sides, sides.transpose(-1, -2)).masked_fill(~triples, 0.0)  # [B, B, B]


def _require_same_batch(student: Tensor, teacher: Tensor) -> None:
    axes = {student.dim(), teacher.dim()}
    if axes != {REPRESENTATION_AXES} or len(student) != len(teacher):
        raise ShapeError(
            f"the student's are {list(student.shape)}, the teacher's are {list(teacher.shape)}; "
            "both must be [B, width] of the same B"
        )
