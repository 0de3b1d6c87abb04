"""A language model's graph makes logits of the last tokens alone where it is told so, and of all where it is not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from kd_deploy.bundle import LAST_LOGITS
from kd_deploy.export.generation.last_logits import offer_last
from kd_deploy.export.generation.quantize import to_int4, to_int8
from tests.export.generation.conftest import WORDS

LENGTH = 7
Files = dict[str, dict[str, Path]]


def arrays(session: ort.InferenceSession) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(3, WORDS, size=(2, LENGTH))
    shapes = {one.name: one.shape for one in session.get_inputs()}
    pasts = {name: np.zeros((2, shapes[name][1], 0, shapes[name][3]), np.float32) for name in shapes if "past" in name}
    known = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(LENGTH)[None].repeat(2, 0),
    }
    return known | pasts


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_last_tokens_have_the_logits_that_they_have_among_all(
    family: str, precision: str, exported: Files, tmp_path: Path
) -> None:
    path = exported[family]["model"]
    if precision != "fp32":
        smaller = tmp_path / f"{precision}.onnx"
        (to_int8 if precision == "int8" else to_int4)(path, smaller, reduce_range=False)
        path = smaller
    session = ort.InferenceSession(str(path))
    given = arrays(session)

    whole, *caches = session.run(None, given)
    zero, *_ = session.run(None, given | {LAST_LOGITS: np.array(0)})
    assert whole.shape == (2, LENGTH, WORDS)
    np.testing.assert_array_equal(zero, whole)
    # Activations are quantised by the largest among them: of fewer tokens in other steps.
    tolerance = 1e-5 if precision == "fp32" else 0.05 * np.abs(whole).max()
    for count in (1, 3):
        last, *again = session.run(None, given | {LAST_LOGITS: np.array(count)})
        np.testing.assert_allclose(last, whole[:, -count:], atol=tolerance)
        for one, other in zip(caches, again, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_who_does_not_know_of_it_is_not_asked_for_it(family: str, exported: Files) -> None:
    session = ort.InferenceSession(str(exported[family]["model"]))

    assert LAST_LOGITS not in {one.name for one in session.get_inputs()}
    assert [one.name for one in session.get_overridable_initializers()] == [LAST_LOGITS]


def test_a_head_that_cannot_be_found_is_left_alone() -> None:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", "s", 4]) for name in ("x", "logits")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["logits"])], "no head", values[:1], values[1:])
    model = helper.make_model(graph)

    assert not offer_last(model)
    assert [one.name for one in model.graph.input] == ["x"]
