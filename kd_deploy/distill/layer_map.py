"""Which student layer learns from which teacher layer: by rule, by hand, or by how alike they already are."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import RecipeError, ShapeError, TrainingError

LayerMap: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs of (student layer, teacher layer), each a position in the list of encoder layers, from 0."""

ROWS_AND_WIDTH = 2
ROUNDING = 1e-12  # what is left of a constant column after its mean is taken off, against the column's size


def layer_map(kind: Literal["uniform", "last", "skip"], *, student_depth: int, teacher_depth: int) -> LayerMap:
    """The pairs of layers that a rule gives, in the order of the student's layers.

    For a student of M layers and a teacher of N, both counted from 1 in this list as in the papers:

    - "uniform": m to m × N / M, rounded half up, so the last to the last. Jiao et al. 2020 (TinyBERT), arXiv
      1909.10351.
    - "last": m to N - M + m, the teacher's topmost layers. PKD-last (Sun et al. 2019, arXiv 1908.09355), and with
      the last layer too, which PKD leaves to the logits.
    - "skip": m to m × k with k = N // M, for m below M: the student's last layer learns through the logits alone, and
      the teacher's top layer teaches none. PKD-skip of the same paper.

    Args:
        kind: Which rule.
        student_depth: M, encoder layers of the student.
        teacher_depth: N, not below M.

    Returns:
        The pairs, counted from 0; teacher layers strictly rise.

    Raises:
        RecipeError: A student deeper than the teacher, one without layers, or "skip" for a single layer.
    """
    _require_no_deeper(student_depth, teacher_depth)
    if kind == "uniform":
        # In whole numbers: a / b rounded half up is (2a + b) // 2b.
        tops = [(2 * m * teacher_depth + student_depth) // (2 * student_depth) for m in range(1, student_depth + 1)]
        return tuple((layer, top - 1) for layer, top in enumerate(tops))
    if kind == "last":
        return tuple((layer, teacher_depth - student_depth + layer) for layer in range(student_depth))
    if student_depth == 1:
        raise RecipeError(
            "the layer map skip leaves a student of 1 layer nothing to match, as it leaves out the last layer",
            hint="use uniform or last",
        )
    step = teacher_depth // student_depth
    return tuple((layer, (layer + 1) * step - 1) for layer in range(student_depth - 1))


def check_pairs(pairs: Sequence[tuple[int, int]], *, student_depth: int, teacher_depth: int) -> None:
    """Refuse pairs of layers that the two models do not have.

    Args:
        pairs: (student layer, teacher layer), from 0.
        student_depth: Encoder layers of the student.
        teacher_depth: Encoder layers of the teacher.

    Raises:
        RecipeError: Names every pair that is out of range, and both ranges.
    """
    outside = [pair for pair in pairs if not (0 <= pair[0] < student_depth and 0 <= pair[1] < teacher_depth)]
    if outside:
        raise RecipeError(
            f"no such layers: {', '.join(str(list(pair)) for pair in outside)}; the student's are 0 to "
            f"{student_depth - 1}, the teacher's 0 to {teacher_depth - 1}",
            hint="each pair is [student layer, teacher layer], counted from 0",
        )


def linear_cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """How alike two representations of the same examples are, from 0 to 1, by linear CKA.

    Kornblith et al. 2019, arXiv 1905.00414. Does not change when either side is moved, turned, mirrored or scaled; 1
    wherever one is the other under such a change. The widths may differ. Computed in float64.

    Args:
        x: One row for each example, [N, D1].
        y: The same examples in the same order, [N, D2].

    Returns:
        The similarity; 0 where either side is the same for all examples.

    Raises:
        ShapeError: The numbers of rows differ.
    """
    if {x.ndim, y.ndim} != {ROWS_AND_WIDTH} or len(x) != len(y):
        raise ShapeError(f"CKA compares [N, D1] with [N, D2] of the same N, not {list(x.shape)} with {list(y.shape)}")
    x_centred, y_centred = _centred(x), _centred(y)
    within = float(np.linalg.norm(x_centred.T @ x_centred) * np.linalg.norm(y_centred.T @ y_centred))
    if within == 0:
        return 0.0
    return float(np.clip(np.linalg.norm(y_centred.T @ x_centred) ** 2 / within, 0, 1))


def best_map(similarity: NDArray[np.floating]) -> LayerMap:
    """The pairs with the largest sum of similarities that keep the order of the layers.

    Every student layer is given a teacher layer, and teacher layers strictly rise. Found by dynamic programming over
    the student's layers. Of several best ones, the one with the lower teacher layers.

    Args:
        similarity: Of each student layer (row) and teacher layer (column), such as `linear_cka`, [M, N].

    Returns:
        The pairs, counted from 0, in the order of the student's layers.

    Raises:
        RecipeError: A student deeper than the teacher, or one without layers.
        TrainingError: A similarity that is not a finite number.
    """
    student_depth, teacher_depth = similarity.shape
    _require_no_deeper(student_depth, teacher_depth)
    if not np.isfinite(similarity).all():
        student, teacher = np.argwhere(~np.isfinite(similarity))[0]
        raise TrainingError(
            f"the similarity of student layer {student} and teacher layer {teacher} is {similarity[student, teacher]}",
            hint="one of the two models gives hidden states that are not finite numbers",
        )
    totals = np.full((student_depth, teacher_depth), -np.inf)  # best sum whose last pair is (row, column)
    totals[0] = similarity[0]
    for layer in range(1, student_depth):
        totals[layer, 1:] = similarity[layer, 1:] + np.maximum.accumulate(totals[layer - 1])[:-1]
    chosen, below = [], teacher_depth
    for layer in reversed(range(student_depth)):
        below = int(totals[layer, :below].argmax())
        chosen.append((layer, below))
    return tuple(reversed(chosen))


def _centred(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(rows, dtype=np.float64)
    centred = values - values.mean(axis=0)
    if np.linalg.norm(centred) <= ROUNDING * np.linalg.norm(values):
        return np.zeros_like(values)
    return np.asarray(centred)


def _require_no_deeper(student_depth: int, teacher_depth: int) -> None:
    if not 1 <= student_depth <= teacher_depth:
        raise RecipeError(
            f"a student of {student_depth} layers cannot be matched one to one with a teacher of {teacher_depth}",
            hint=f"give the student 1 to {teacher_depth} layers, or list the pairs of layers by hand",
        )
