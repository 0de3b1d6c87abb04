"""Two forms of one model on the same batches."""

from pathlib import Path

import numpy as np
import pytest

from kd_deploy.errors import ExportError
from kd_deploy.export.parity import Shapes, cases, compare, require
from kd_deploy.runner import Batch, Outputs, parity_error

SHAPES = Shapes(vocabulary_size=50, max_length=24, pad_id=0)


class Sum:
    """Logits that are the sum of the ids, with an error where a row is longer than `limit`."""

    input_names: tuple[str, ...] = ("input_ids", "attention_mask")

    def __init__(self, *, limit: int = 10_000, error: float = 1.0) -> None:
        self.limit, self.error, self.seen = limit, error, set[str]()

    def run(self, batch: Batch) -> Outputs:
        self.seen |= set(batch)
        logits = batch["input_ids"].sum(axis=1, keepdims=True).astype(np.float32)
        return {"logits": logits + self.error * (batch["input_ids"].shape[1] > self.limit)}

    def close(self) -> None:
        pass


def test_cases_cover_sizes_lengths_and_both_paddings() -> None:
    found = [case.batch for case in cases(SHAPES)]

    assert {len(batch["input_ids"]) for batch in found} == {1, 2, 7}
    assert {batch["input_ids"].shape[1] for batch in found} == {1, 2, 5, 16, 24}
    assert any(batch["attention_mask"][:, 0].min() == 0 for batch in found)
    assert any(batch["attention_mask"][:, -1].min() == 0 for batch in found)
    assert any(batch["token_type_ids"].max() == 1 for batch in found)
    assert {0, 49} <= {int(k) for batch in found for k in batch["input_ids"].flat}


def test_a_case_is_a_batch_that_a_model_can_meet() -> None:
    for case in cases(SHAPES):
        ids, mask = case.batch["input_ids"], case.batch["attention_mask"]
        assert mask.sum(axis=1).min() >= 1
        assert mask[:, [0, -1]].max(axis=1).min() == 1
        assert (np.abs(np.diff(mask, axis=1)).sum(axis=1) <= 1).all()
        assert (ids[mask == 0] == SHAPES.pad_id).all()
        assert ids.min() >= 0
        assert ids.max() < SHAPES.vocabulary_size
        assert {array.dtype for array in case.batch.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("room", [1, 2, 3, 512])
def test_no_case_is_longer_than_the_model_allows(room: int) -> None:
    longest = max(
        case.batch["input_ids"].shape[1] for case in cases(Shapes(vocabulary_size=9, max_length=room, pad_id=1))
    )

    assert longest == room


def test_the_same_seed_gives_the_same_cases() -> None:
    for left, right in zip(cases(SHAPES), cases(SHAPES), strict=True):
        assert left.name == right.name
        np.testing.assert_array_equal(left.batch["input_ids"], right.batch["input_ids"])


def test_equal_runners_are_not_apart() -> None:
    left, right = Sum(), Sum()

    found = compare(left, right, SHAPES)

    assert found.max_abs_error == 0
    assert found.cases == len(list(cases(SHAPES)))
    assert left.seen == {"input_ids", "attention_mask"}


def test_the_worst_case_is_found_and_kept(tmp_path: Path) -> None:
    found = compare(Sum(), Sum(limit=20, error=0.5), SHAPES)

    with pytest.raises(ExportError, match=r"model\.onnx .* differ by 0\.5 .* length 24") as caught:
        require(found, what="model.onnx", keep=tmp_path / "new" / "worst.npz")

    assert "worst.npz" in caught.value.hint
    kept = np.load(tmp_path / "new" / "worst.npz", allow_pickle=False)
    np.testing.assert_array_equal(kept["input_ids"], found.worst.batch["input_ids"])


def test_rounding_is_no_difference(tmp_path: Path) -> None:
    require(compare(Sum(), Sum(limit=0, error=1.9e-4), SHAPES), what="model.onnx", keep=tmp_path / "worst.npz")

    assert not list(tmp_path.iterdir())


def test_more_than_the_promised_limit_is_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        require(compare(Sum(), Sum(limit=0, error=3e-4), SHAPES), what="model.onnx", keep=tmp_path / "worst.npz")


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_infinitely_far(tmp_path: Path, error: float) -> None:
    found = compare(Sum(), Sum(limit=20, error=error), SHAPES)

    assert found.max_abs_error == float("inf")
    with pytest.raises(ExportError):
        require(found, what="model.onnx", keep=tmp_path / "worst.npz")


def test_the_error_is_the_largest_over_all_outputs() -> None:
    left = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((1, 2), np.float32)}
    right = {"a": np.array([[0, -1]], np.float32), "b": np.array([[3, 0]], np.float32)}

    assert parity_error(left, right) == 3
