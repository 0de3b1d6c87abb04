"""The whole export: what the manifest records, and that a fault leaves the old bundle as it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.opening import open_predictor
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.errors import ExportError, GateError
from kd_deploy.export import bundle as export_module
from kd_deploy.export.bundle import export_bundle
from kd_deploy.export.settings import ExportSettings
from kd_deploy.machine import Machine
from kd_deploy.tasks.task import Examples
from tests import tiny


@pytest.fixture
def old(bilstm: Bundle, tmp_path: Path) -> Bundle:
    """An exported bundle that a test may try to export over."""
    return Bundle.open(shutil.copytree(bilstm.path, tmp_path / "student"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(bundle: Bundle, **settings: Any) -> Bundle:
    model = load_model(bundle.path)
    chosen = ExportSettings(**({"precisions": ("fp32", "int8")} | settings))
    return export_bundle(bundle, bundle.path, model=model, runner=TorchRunner(model), settings=chosen)


@pytest.mark.parametrize("kind", ["bert", "bilstm", "multi", "pairs"])
def test_onnx_answers_like_torch(request: pytest.FixtureRequest, kind: str) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    rows = {"multi": tiny.multi_label, "pairs": tiny.paired}.get(kind, tiny.single_label)(30, seed=9)

    with runtime.load(bundle, precision="fp32") as onnx_model:
        torch_model = open_predictor(bundle.path, max_length=tiny.MAX_LENGTH)
        left, right = torch_model.logits(rows.inputs), onnx_model.logits(rows.inputs)

    np.testing.assert_allclose(left, right, atol=2e-4)
    assert np.ptp(left, axis=0).max() > 0.01


def test_the_manifest_records_how_each_graph_was_made(exported: Bundle) -> None:
    exported.verify()
    fp32, int8 = exported.manifest.graphs["fp32"], exported.manifest.graphs["int8"]

    assert (fp32.opset, fp32.backend, fp32.parity.against) == (17, "torch", "torch")
    assert fp32.parity.max_abs_error < 2e-4
    assert fp32.parity.cases > 30
    assert int8.quantized_operators
    assert int8.steps
    assert int8.metric is not None
    assert int8.metric > 0.9
    assert int8.metric_drop is not None
    assert int8.metric_drop <= 0.05
    assert int8.batch_sensitivity is not None
    assert exported.size_bytes("int8") < exported.size_bytes("fp32")


def test_the_torch_half_is_copied_byte_for_byte(bilstm: Bundle, bilstm_bundle: Bundle) -> None:
    before, after = contents(bilstm_bundle.path), contents(bilstm.path)

    assert {name: after[name] for name in before if name != "bundle.json"} == {
        name: value for name, value in before.items() if name != "bundle.json"
    }
    assert set(after) - set(before) == {"onnx/model.onnx", "onnx/model_quantized.onnx"}


def test_int8_alone_leaves_no_fp32_behind(old: Bundle) -> None:
    made = run(old, precisions=("int8",))

    made.verify()
    assert set(made.manifest.graphs) == {"int8"}


def wrong_graph(*args: Any, **named: Any) -> None:
    """Export for real, and then turn the head's bias."""
    from kd_deploy.export.graph import export_graph

    export_graph(*args, **named)
    graph = onnx.load(args[1])
    (bias,) = [one for one in graph.graph.initializer if one.name.endswith("classifier.bias")]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    onnx.save(graph, args[1])


def test_a_wrong_graph_is_refused_and_its_worst_input_kept(old: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old.path)
    monkeypatch.setattr(export_module, "export_graph", wrong_graph)

    with pytest.raises(ExportError, match=r"does not answer like the torch model: logits differ by 0\.5") as caught:
        run(old)

    assert caught.value.exit_code == 6
    assert contents(old.path) == before
    kept = old.path.with_name("student.parity-worst.npz")
    assert str(kept) in caught.value.hint
    assert "input_ids" in np.load(kept, allow_pickle=False)
    assert {path.name for path in old.path.parent.iterdir()} == {"student", kept.name}


def test_int8_that_costs_too_much_leaves_the_old_bundle(
    old: Bundle, test_rows: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(old.path)
    metric = iter([1.0, *[0.5] * 20])
    monkeypatch.setattr(export_module, "main_metric_of", lambda *_: next(metric))
    monkeypatch.setattr("kd_deploy.export.gate.main_metric_of", lambda *_: next(metric))

    with pytest.raises(GateError) as caught:
        run(old, examples=test_rows, max_accuracy_drop=0.1)

    assert caught.value.exit_code == 10
    assert contents(old.path) == before
    assert [path.name for path in old.path.parent.iterdir()] == ["student"]


def test_a_later_plan_is_taken_when_an_earlier_one_loses_too_much(
    old: Bundle, test_rows: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = iter([0.5, 0.6, 0.95])
    monkeypatch.setattr(export_module, "main_metric_of", lambda *_: 1.0)
    monkeypatch.setattr("kd_deploy.export.gate.main_metric_of", lambda *_: next(metric))

    made = run(old, examples=test_rows, max_accuracy_drop=0.1)

    record = made.manifest.graphs["int8"]
    assert len(record.steps) == 3
    assert record.metric_drop == pytest.approx(0.05)
    assert "embedding table kept by the plan, for accuracy" in {one.why for one in record.kept_in_fp32}


@pytest.mark.parametrize("features", [(), ("avx2",), ("avx512_vnni",)])
def test_weights_have_seven_bits_without_vnni(
    old: Bundle, monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...]
) -> None:
    machine = Machine(cpu="a processor", features=features, cores=1, memory_bytes=1)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(export_module, "this_machine", lambda: machine)

    made = run(old)

    assert made.manifest.graphs["int8"].reduce_range == ("avx512_vnni" not in features)
    assert not made.manifest.graphs["fp32"].reduce_range


def test_the_manifest_is_json_without_a_local_path(exported: Bundle) -> None:
    text = (exported.path / "bundle.json").read_text()

    assert str(exported.path.parent) not in text
    assert json.loads(text)["schema_version"] == 1
