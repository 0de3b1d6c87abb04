"""A graph against the contract: names, axes, opset, IR, domains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from kd_deploy.bundle import Bundle, graph_file
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.errors import ExportError
from kd_deploy.export.graph import check_graph, export_graph
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks import text_classification

NAMES = {
    "bert": ["input_ids", "attention_mask", "token_type_ids"],
    "bilstm": ["input_ids", "attention_mask"],
}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("kind", ["bert", "bilstm"])
def test_every_file_keeps_the_contract(request: pytest.FixtureRequest, kind: str, precision: str) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    graph = onnx.load(bundle.graph(precision))

    onnx.checker.check_model(graph)
    assert {one.domain: one.version for one in graph.opset_import}[""] == 17
    assert graph.ir_version <= 10
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx", "com.microsoft"}
    assert [one.name for one in graph.graph.input] == NAMES[kind]
    assert [one.name for one in graph.graph.output] == ["logits"]
    for one in graph.graph.input:
        assert one.type.tensor_type.elem_type == onnx.TensorProto.INT64
        assert [axis.dim_param for axis in one.type.tensor_type.shape.dim] == ["batch", "sequence"]
    assert not [one for one in graph.graph.initializer if one.external_data]
    assert {path.name for path in (bundle.path / "onnx").iterdir()} == {
        Path(graph_file(name)).name for name in ("fp32", "int8")
    }
    assert not list(bundle.path.glob("*.onnx"))


def opset(graph: onnx.ModelProto) -> None:
    graph.opset_import[0].version = 15


def ir_version(graph: onnx.ModelProto) -> None:
    graph.ir_version = 13


def domain(graph: onnx.ModelProto) -> None:
    graph.graph.node[0].domain = "my.own"


def inputs(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].name = "ids"


FAULTS: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "opset": (opset, "its opset is .*15.*, not 17"),
    "IR version": (ir_version, "IR version 13 is above 10"),
    "domain": (domain, "operator domain .*my.own"),
    "inputs": (inputs, "its inputs are .*ids"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_graph_beside_the_contract_is_refused(bilstm: Bundle, tmp_path: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    graph = onnx.load(bilstm.graph("fp32"))
    spoil(graph)
    onnx.save(graph, tmp_path / "model.onnx")

    with pytest.raises(ExportError, match=message) as caught:
        check_graph(tmp_path / "model.onnx", inputs=NAMES["bilstm"], outputs=("logits",), opset=17)
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["bert", "bilstm"])
@pytest.mark.parametrize("wanted", [14, 18])
def test_another_opset_is_written_when_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, wanted: int
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    target = tmp_path / "model.onnx"

    export_graph(
        load_model(bundle.path),
        target,
        inputs=NAMES[kind],
        task=text_classification,
        opset=wanted,
        checkpoint=bundle.path,
    )

    assert OrtRunner(target).input_names == tuple(NAMES[kind])


class _Stubborn(nn.Module):
    def forward(self, input_ids: Any, attention_mask: Any) -> SequenceClassifierOutput:  # noqa: ARG002
        return SequenceClassifierOutput(logits=torch.linalg.eigvals(input_ids.float() @ input_ids.float().T).real)


def test_a_model_that_does_not_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="_Stubborn does not export"):
        export_graph(
            _Stubborn(),
            tmp_path / "model.onnx",
            inputs=NAMES["bilstm"],
            task=text_classification,
            opset=17,
            checkpoint=tmp_path,
        )
