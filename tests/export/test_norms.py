"""Layer norms by vectors: the same numbers, over texts and nowhere else."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.export import parity
from kd_deploy.export.first_token import keep_first_token
from kd_deploy.export.norms import vectorise_norms
from kd_deploy.export.quantize import fuse
from kd_deploy.runtime.session import OrtRunner
from tests.export.conftest import shapes_of

WIDTH = 24


def one_norm(*, opset: int, bias: bool, outputs: int = 1) -> onnx.ModelProto:
    """y = norm(x + skip (+ bias)), [B, S, H]."""
    drawn = np.random.default_rng(0)
    names = ["scale", "shift", "bias"]
    weights = [numpy_helper.from_array(drawn.normal(size=WIDTH).astype(np.float32), name) for name in names]
    made = ["y", "", "", "sum"][: 1 if outputs == 1 else 4]
    node = helper.make_node(
        "SkipLayerNormalization",
        ["x", "skip", *names[: 3 if bias else 2]],
        made,
        name="norm",
        domain="com.microsoft",
        epsilon=1e-5,
    )
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "s", WIDTH]) for name in ("x", "skip")]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "s", WIDTH]) for name in made if name]
    graph = helper.make_graph([node], "one", inputs, results, weights)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["y"], inputs)[0]
    return found


@pytest.mark.parametrize("opset", [14, 17])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 1), (3, 7)])
def test_it_is_the_same_norm(opset: int, bias: bool, shape: tuple[int, int]) -> None:
    drawn = np.random.default_rng(1)
    x, skip = (drawn.normal(3.0, 5.0, size=(*shape, WIDTH)).astype(np.float32) for _ in range(2))
    model = one_norm(opset=opset, bias=bias)
    before = run(model, x=x, skip=skip)

    assert vectorise_norms(model) == 1

    assert "SkipLayerNormalization" not in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(run(model, x=x, skip=skip), before, atol=1e-5)


def test_one_that_gives_its_sum_as_well_is_left() -> None:
    model = one_norm(opset=17, bias=True, outputs=4)

    assert vectorise_norms(model) == 0
    assert [node.op_type for node in model.graph.node] == ["SkipLayerNormalization"]


def test_a_classifier_keeps_its_answers_and_the_norms_of_its_first_token(
    bert: Bundle, plain: Path, tmp_path: Path
) -> None:
    fused, made = tmp_path / "fused.onnx", tmp_path / "made.onnx"
    assert fuse(plain, fused, model_type="bert", heads=4, width=32)
    model = onnx.load(fused)
    keep_first_token(model)
    norms = Counter(node.op_type for node in model.graph.node)["SkipLayerNormalization"]

    changed = vectorise_norms(model)

    onnx.save(model, made)
    found = parity.compare(TorchRunner(load_model(bert.path)), OrtRunner(made), shapes_of(bert))
    counts = Counter(node.op_type for node in model.graph.node)
    assert changed == counts["InstanceNormalization"] == norms - 2  # the last layer's two are of one token
    assert counts["SkipLayerNormalization"] == 2
    assert found.max_abs_error < parity.TOLERANCE
