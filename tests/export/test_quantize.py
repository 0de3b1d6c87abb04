"""What int8 does to a graph, and the account of what it did not."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.errors import ExportError
from kd_deploy.export.head import head_of
from kd_deploy.export.quantize import PLANS, SMALL_HEAD, Plan, fuse, quantize
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.task import Examples


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
def test_every_plan_gives_a_smaller_graph_that_opens(exported: Bundle, tmp_path: Path, plan: Plan) -> None:
    target = tmp_path / "int8.onnx"

    quantize(exported.graph("fp32"), target, plan=plan, reduce_range=False)

    assert target.stat().st_size < exported.graph("fp32").stat().st_size
    assert OrtRunner(target).input_names == OrtRunner(exported.graph("fp32")).input_names


def test_int8_agrees_with_fp32(exported: Bundle, test_rows: Examples) -> None:
    texts = test_rows.inputs
    with runtime.load(exported, precision="fp32") as fp32, runtime.load(exported, precision="int8") as int8:
        left, right = fp32.predict(texts), int8.predict(texts)

    assert np.mean([a.label == b.label for a, b in zip(left, right, strict=True)]) > 0.95
    assert np.mean([abs(a.score - b.score) for a, b in zip(left, right, strict=True)]) < 0.1


def test_the_account_counts_what_runs_in_int8(bert: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"

    found = quantize(bert.graph("fp32"), target, plan=PLANS[0], reduce_range=False)

    assert found.operators["MatMul"] == operators(target)["MatMulInteger"]
    assert found.operators["embedding tables"] >= 1


def test_products_of_two_activations_stay_in_fp32_and_are_named(bert: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"

    found = quantize(bert.graph("fp32"), target, plan=PLANS[0], reduce_range=False)

    assert operators(target)["MatMul"] == sum(one.count for one in found.kept if one.operator == "MatMul")
    assert {one.why for one in found.kept if one.operator == "MatMul"} == {
        "a product of two activations: there is no weight to quantise",
        SMALL_HEAD,
    }


@pytest.mark.parametrize(("classes", "is_small"), [(128, True), (129, False)])
def test_a_head_that_int8_would_slow_down_stays_in_fp32(tmp_path: Path, classes: int, is_small: bool) -> None:
    weights = [
        numpy_helper.from_array(np.ones((8, 32), dtype=np.float32), "inner"),  # small, too, and no head
        numpy_helper.from_array(np.ones((32, classes), dtype=np.float32), "outer"),
    ]
    nodes = [
        helper.make_node("MatMul", ["input", "inner"], ["hidden"], name="first"),
        helper.make_node("MatMul", ["hidden", "outer"], ["logits"], name="second"),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in (("input", 8), ("logits", classes))
    ]
    graph = helper.make_graph(nodes, "two products", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "fp32.onnx"
    )

    found = quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", plan=PLANS[0], reduce_range=False)

    assert found.operators == {"MatMul": 1 if is_small else 2}
    assert [one.why for one in found.kept] == [SMALL_HEAD] * is_small


def test_the_careful_plan_keeps_tables_and_head(bert: Bundle, tmp_path: Path) -> None:
    found = quantize(bert.graph("fp32"), tmp_path / "int8.onnx", plan=PLANS[-1], reduce_range=False)

    kept = {(one.operator, one.why) for one in found.kept}
    assert ("Gather", "embedding table kept by the plan, for accuracy") in kept
    assert ("MatMul", "kept by the plan, for accuracy") in kept
    assert "embedding tables" not in found.operators
    tensors = {one.name: one.data_type for one in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert tensors["model.classifier.weight"] == onnx.TensorProto.FLOAT
    assert tensors["model.bert.embeddings.word_embeddings.weight"] == onnx.TensorProto.FLOAT


def test_a_bilstm_runs_its_lstm_in_int8(bilstm: Bundle) -> None:
    record = bilstm.manifest.graphs["int8"]

    assert record.quantized_operators["LSTM"] == 1
    assert operators(bilstm.graph("int8"))["DynamicQuantizeLSTM"] == 1


def test_attention_is_fused_in_the_int8_graph_alone(bert: Bundle) -> None:
    assert bert.manifest.graphs["int8"].quantized_operators["Attention"] == 4
    assert operators(bert.graph("int8"))["QAttention"] == 4
    assert operators(bert.graph("fp32"))["Attention"] == 0


def test_fusion_changes_no_answer(bert: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "fused.onnx"
    assert fuse(bert.graph("fp32"), target, model_type="bert", heads=4, width=32)
    ids = np.array([[2, 7, 9, 3], [2, 8, 3, 0]], dtype=np.int64)
    batch = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}

    left, right = OrtRunner(bert.graph("fp32")).run(batch), OrtRunner(target).run(batch)

    np.testing.assert_allclose(left["logits"], right["logits"], atol=1e-4)


def test_a_family_without_fusion_is_left_as_it_is(bilstm: Bundle, tmp_path: Path) -> None:
    assert not fuse(bilstm.graph("fp32"), tmp_path / "fused.onnx", model_type="kd-bilstm", heads=4, width=32)
    assert not list(tmp_path.iterdir())


def weights(path: Path) -> list[int]:
    graph = onnx.load(path).graph
    int8 = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    return [int(np.abs(one.astype(np.int32)).max()) for one in int8]


def test_seven_bits_where_products_saturate(bert: Bundle, tmp_path: Path) -> None:
    for reduce_range in (False, True):
        quantize(bert.graph("fp32"), tmp_path / f"{reduce_range}.onnx", plan=PLANS[0], reduce_range=reduce_range)

    assert max(weights(tmp_path / "True.onnx")) <= 64 < max(weights(tmp_path / "False.onnx"))


def test_a_graph_that_cannot_be_quantised_is_named(
    bert: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no shape\nfor this")

    monkeypatch.setattr("kd_deploy.export.quantize.quantize_dynamic", refuse)

    with pytest.raises(ExportError, match=r"model\.onnx cannot be quantised: no shape$"):
        quantize(bert.graph("fp32"), tmp_path / "int8.onnx", plan=PLANS[0], reduce_range=False)


def test_every_plan_has_a_scale_for_each_channel(bert: Bundle, tmp_path: Path) -> None:
    quantize(bert.graph("fp32"), tmp_path / "int8.onnx", plan=PLANS[0], reduce_range=False)

    graph = onnx.load(tmp_path / "int8.onnx").graph
    scales = [one for one in graph.initializer if one.name.endswith("_scale") and "MatMul" in one.name]
    assert scales
    assert all(one.dims[0] > 1 for one in scales)


@pytest.mark.parametrize("after", [(), ("Add",), ("Div",), ("Mul", "Tanh", "Mul")])
def test_the_head_is_found_behind_what_is_done_to_each_logit(after: tuple[str, ...]) -> None:
    nodes, last = [helper.make_node("MatMul", ["states", "table"], ["product"])], "product"
    for number, operator in enumerate(after):
        given = [last] if operator == "Tanh" else [last, "scale"]
        nodes.append(helper.make_node(operator, given, [f"step{number}"]))
        last = f"step{number}"
    nodes.append(helper.make_node("Identity", [last], ["logits"]))

    assert head_of(helper.make_graph(nodes, "graph", [], [])) == "product"
