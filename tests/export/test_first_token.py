"""The last layer on one token: the same logits from fewer operations, and no change where nobody reads it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.export import parity
from kd_deploy.export.first_token import keep_first_token
from kd_deploy.export.quantize import fuse
from kd_deploy.runtime.session import OrtRunner
from tests.export.conftest import shapes_of


@pytest.mark.parametrize("fused", [False, True])
def test_logits_stay_the_same_over_shapes_and_paddings(bert: Bundle, plain: Path, tmp_path: Path, fused: bool) -> None:
    source = plain
    if fused:
        source = tmp_path / "fused.onnx"
        assert fuse(plain, source, model_type="bert", heads=4, width=32)
    model = onnx.load(source)

    moved = keep_first_token(model)

    onnx.save(model, tmp_path / "short.onnx")
    found = parity.compare(TorchRunner(load_model(bert.path)), OrtRunner(tmp_path / "short.onnx"), shapes_of(bert))
    assert moved >= 6
    assert found.max_abs_error < parity.TOLERANCE


def test_the_sequence_is_cut_at_the_attention_and_at_its_residual(plain: Path) -> None:
    model = onnx.load(plain)
    keep_first_token(model)
    gathers = [node for node in model.graph.node if node.name.endswith("_kept_tokens_gather")]

    # One for what the attention gives, one for the residual beside it.
    assert len(gathers) == 2


def test_a_bilstm_is_left_as_it_was(bilstm: Bundle) -> None:
    model = onnx.load(bilstm.graph("fp32"))
    before = model.SerializeToString()

    assert keep_first_token(model) == 0
    assert model.SerializeToString() == before


def test_a_reader_of_another_token_is_left_alone(plain: Path) -> None:
    model = onnx.load(plain)
    constants = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        if node.op_type == "Gather" and axis == 1 and node.input[1] in constants:
            node.input[1] = "second"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "second"))

    assert keep_first_token(model) == 0


def test_the_written_graph_has_it_and_says_so(bert: Bundle) -> None:
    steps = bert.manifest.graphs["fp32"].steps
    assert any("first token" in step for step in steps)
