"""Two runners on the same batches: every batch size, length and padding side, and the edges."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import ExportError
from kd_deploy.runner import Batch, Outputs, Runner, parity_error

Ids = NDArray[np.int64]

BATCH_SIZES = (1, 2, 7)
LENGTHS = (1, 2, 5, 16, 61)
MASKED = 1 / 3  # of the tokens of a model that fills masks
TOLERANCE = 2e-4  # of logits, absolute: fp32 sums in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The room in which inputs may lie.

    `mask_id`: of a model that fills masks. A third of the tokens are masks then, and answers are compared there.
    """

    vocabulary_size: int
    max_length: int
    pad_id: int
    mask_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One batch to compare, and what is special about it."""

    name: str
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far two runners were apart, and where most."""

    cases: int
    max_abs_error: float
    worst: Case


def cases(shapes: Shapes, *, seed: int = 0) -> Iterator[Case]:
    """Random ids over batch × length × padding side, then the edges; the same for the same seed."""
    rng = np.random.default_rng(seed)
    lengths = sorted({min(length, shapes.max_length) for length in (*LENGTHS, shapes.max_length)})
    for rows in BATCH_SIZES:
        for longest in lengths:
            for side in ("right", "left"):
                own = np.array([longest, *rng.integers(1, longest + 1, size=rows - 1)])
                ids = _drawn(rng, (rows, longest), shapes)
                yield Case(name=f"batch {rows}, length {longest}, padding {side}", batch=_batch(ids, own, side, shapes))
    full = np.array([min(16, shapes.max_length)])
    for name, token in (("the first token alone", 0), ("the last token alone", shapes.vocabulary_size - 1)):
        yield Case(name=name, batch=_batch(np.full((1, 1), token), np.array([1]), "right", shapes))
        yield Case(name=f"{name}, repeated", batch=_batch(np.full((1, full[0]), token), full, "right", shapes))
    half = _batch(_drawn(rng, (2, int(full[0])), shapes), full.repeat(2), "right", shapes)
    segments = np.zeros_like(half["input_ids"])
    segments[:, full[0] // 2 :] = 1
    yield Case(name="two segments", batch={**half, "token_type_ids": segments})


def compare(left: Runner, right: Runner, shapes: Shapes, *, of_tokens: Collection[str] = ()) -> Parity:
    """The largest difference of two runners over all cases.

    Args:
        left: One of them.
        right: The other.
        shapes: The room in which inputs may lie.
        of_tokens: The outputs that are a row for each token: at padding they mean nothing.
    """
    worst: Case | None = None
    largest, count = -1.0, 0
    for case in cases(shapes):
        count += 1
        asked = case.batch["attention_mask"].astype(bool) & _is_asked(case.batch["input_ids"], shapes)
        outputs = [_at_tokens(one.run(_only(case.batch, one)), asked, of_tokens) for one in (left, right)]
        error = parity_error(*outputs)
        if error > largest:
            largest, worst = error, case
    assert worst is not None  # noqa: S101 - there are always cases
    return Parity(cases=count, max_abs_error=largest, worst=worst)


def require(parity: Parity, *, what: str, keep: Path) -> None:
    """Fail where the two were further apart than rounding explains; the worst batch is kept as .npz.

    Raises:
        ExportError: Naming the case, the error and the file.
    """
    if parity.max_abs_error <= TOLERANCE:
        return
    keep.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(parity.worst.batch)
    np.savez(keep, **arrays)
    raise ExportError(
        f"{what} does not answer like the torch model: logits differ by {parity.max_abs_error:.2g} "
        f"(allowed {TOLERANCE:.2g}) at {parity.worst.name}",
        hint=f"nothing was written but the worst input, {keep}",
    )


def _batch(ids: Ids, lengths: Ids, side: str, shapes: Shapes) -> Batch:
    position = np.arange(ids.shape[1])[None, :]
    offset = 0 if side == "right" else (ids.shape[1] - lengths)[:, None]
    inside = (position >= offset) & (position < offset + lengths[:, None])
    return {
        "input_ids": np.where(inside, ids, shapes.pad_id).astype(np.int64),
        "attention_mask": inside.astype(np.int64),
        "token_type_ids": np.zeros(ids.shape, dtype=np.int64),
    }


def _drawn(rng: np.random.Generator, size: tuple[int, int], shapes: Shapes) -> Ids:
    ids = rng.integers(0, shapes.vocabulary_size, size=size)
    return ids if shapes.mask_id is None else np.where(rng.random(size) < MASKED, shapes.mask_id, ids)


def _is_asked(ids: Ids, shapes: Shapes) -> NDArray[np.bool_]:
    return np.full(ids.shape, True) if shapes.mask_id is None else ids == shapes.mask_id


def _at_tokens(outputs: Outputs, asked: NDArray[np.bool_], of_tokens: Collection[str]) -> Outputs:
    return {name: values[asked] if name in of_tokens else values for name, values in outputs.items()}


def _only(batch: Batch, runner: Runner) -> Batch:
    return {name: batch[name] for name in runner.input_names}
