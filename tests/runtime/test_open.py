"""The factories of the benchmark's processes: a bundle, and a bare .onnx file beside its tokenizer."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import helper

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.errors import BundleError
from kd_deploy.machine import Machine
from kd_deploy.pipeline.targets import resolve
from kd_deploy.runtime import loading
from kd_deploy.runtime.generation.sessions import Graph
from kd_deploy.runtime.open import files_of, open_bundle, open_onnx

TEXTS = ["a great film", "an awful story of people in town"]


@pytest.fixture
def loose(bert: Bundle, tmp_path: Path) -> Path:
    """A graph, its tokenizer and its config in one folder, and nothing else."""
    for name in ("config.json", "tokenizer.json", "onnx/model.onnx"):
        shutil.copyfile(bert.path / name, tmp_path / Path(name).name)
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def expected(bert: Bundle) -> Any:
    with runtime.load(bert, precision="fp32") as model:
        return model.logits(TEXTS)


def test_a_bundle_opens_by_name(bert: Bundle) -> None:
    with open_bundle(str(bert.path), "fp32", "cpu", 1) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected(bert), atol=1e-5)


def test_a_graph_beside_its_tokenizer_answers_like_its_bundle(bert: Bundle, loose: Path) -> None:
    with open_onnx(str(loose / "model.onnx"), 24, "cpu", 1) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected(bert), atol=1e-5)
        assert model.labels.names == ("bad", "good")


def test_the_tokenizer_may_lie_one_folder_up(bert: Bundle) -> None:
    with open_onnx(str(bert.path / "onnx" / "model.onnx"), 24, "cpu", None) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected(bert), atol=1e-5)


def test_the_folder_of_the_graph_may_be_where_one_stands(bert: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bert.path / "onnx")

    with open_onnx("model.onnx", 24, "cpu", None) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected(bert), atol=1e-5)


def test_a_graph_that_is_a_link_as_in_the_hubs_cache_is_measured_beside_its_tokenizer(
    bert: Bundle, loose: Path, tmp_path: Path
) -> None:
    blob = tmp_path / "blobs" / "0a1b2c"
    blob.parent.mkdir()
    (loose / "model.onnx").rename(blob)
    (loose / "model.onnx").symlink_to(blob)

    factory = resolve(str(loose / "model.onnx")).spec(provider="cpu", threads=1, must_run=True).factory

    with open_onnx(**cast("Any", factory.arguments)) as model:
        np.testing.assert_allclose(model.logits(TEXTS), expected(bert), atol=1e-5)


def test_no_text_is_longer_than_the_positions(loose: Path) -> None:
    with open_onnx(str(loose / "model.onnx"), 512, "cpu", 1) as model:
        assert model.max_length == 24
        assert np.isfinite(model.logits(["film " * 100])).all()


def test_ten_classes_and_more_keep_their_order(loose: Path) -> None:
    change(loose, id2label={str(k): f"c{k}" for k in range(12)}, problem_type="multi_label_classification")

    with open_onnx(str(loose / "model.onnx"), 24, "cpu", 1) as model:
        assert model.labels.names == tuple(f"c{k}" for k in range(12))
        assert model.labels.is_multi


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(loose: Path, name: str) -> None:
    (loose / name).unlink()

    with pytest.raises(BundleError, match=f"no {name} beside"):
        open_onnx(str(loose / "model.onnx"), 24, "cpu", 1)


@pytest.mark.parametrize("fields", [{"id2label": None}, {"pad_token_id": None}, {"id2label": {}}])
def test_a_config_without_classes_or_pad_token_is_named(loose: Path, fields: dict[str, Any]) -> None:
    change(loose, **fields)

    with pytest.raises(BundleError, match=r"lacks (id2label|pad_token_id)"):
        open_onnx(str(loose / "model.onnx"), 24, "cpu", 1)


@pytest.mark.parametrize("content", ["{", "", "[]", '"text"'])
def test_a_config_that_is_none_is_named(loose: Path, content: str) -> None:
    (loose / "config.json").write_text(content)

    with pytest.raises(BundleError, match=r"config\.json"):
        open_onnx(str(loose / "model.onnx"), 24, "cpu", 1)


def test_the_files_of_a_graph_are_its_other_half_its_weights_and_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    folder.mkdir()
    names = ["encoder_model_q4.onnx", "decoder_model_merged_q4.onnx", "decoder_model_merged_q4.onnx_data", "model.onnx"]
    for name in names:
        (folder / name).write_bytes(b"graph")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")

    found = {str(one.relative_to(tmp_path)) for one in files_of(folder / names[1])}

    assert found == {f"onnx/{name}" for name in names[:3]} | {"tokenizer.json"}


def test_int8_made_for_other_processors_warns(bilstm: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    made_here = bilstm.manifest.graphs["int8"]
    plain = Machine(cpu="an old one", features=("avx2",), cores=1, memory_bytes=1)
    monkeypatch.setattr(loading, "this_machine", lambda: plain)

    for reduced in (False, True):
        graphs = bilstm.manifest.graphs | {"int8": made_here.model_copy(update={"reduce_range": reduced})}
        bundle = replace(bilstm, manifest=bilstm.manifest.model_copy(update={"graphs": graphs}))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            loading.load(bundle).close()
            loading.load(bundle, precision="fp32").close()
        assert ["has none: sums" in str(one.message) for one in told] == [True] * (not reduced)


def test_a_cache_is_as_precise_as_its_graph(tmp_path: Path) -> None:
    kinds = {"past": onnx.TensorProto.FLOAT16, "other": onnx.TensorProto.FLOAT}
    given = [helper.make_tensor_value_info(name, kind, ["batch", 2, "past", 4]) for name, kind in kinds.items()]
    made = [helper.make_tensor_value_info(f"{name}_out", kind, None) for name, kind in kinds.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    model = helper.make_model(helper.make_graph(nodes, "graph", given, made), ir_version=10)
    model.opset_import[0].version = 17
    onnx.save(model, tmp_path / "model.onnx")

    graph = Graph(tmp_path / "model.onnx", threads=1)

    caches = {name: graph.empty(name, 3) for name in kinds}
    assert {name: str(one.dtype) for name, one in caches.items()} == {"past": "float16", "other": "float32"}
    assert [one.shape for one in graph.run(["past_out", "other_out"], caches)] == [(3, 2, 0, 4)] * 2
    graph.close()


LONG = "a great film " * 8 + "awful dull weak " * 8


def test_a_graph_of_a_bundle_is_read_as_its_bundle_says(bilstm: Bundle) -> None:
    with runtime.load(bilstm, precision="fp32") as model:
        wanted = model.logits([LONG])

    with open_onnx(str(bilstm.path / "onnx" / "model.onnx"), 512, "cpu", 1) as model:
        np.testing.assert_allclose(model.logits([LONG]), wanted, atol=1e-5)


def test_a_tokenizer_says_how_long_a_text_may_be(bilstm: Bundle, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"):
        shutil.copyfile(bilstm.path / name, tmp_path / Path(name).name)

    with open_onnx(str(tmp_path / "model.onnx"), 512, "cpu", 1) as model:
        assert model.max_length == bilstm.manifest.max_length


def test_families_that_count_positions_from_the_padding_have_fewer() -> None:
    config = {"max_position_embeddings": 514, "pad_token_id": 1}

    assert loading.positions_in(config | {"model_type": "xlm-roberta"}) == 512
    assert loading.positions_in(config | {"model_type": "bert"}) == 514


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("attention_mask", "position_ids", "takes position_ids, and texts give"),
        ("logits", "last_hidden_state", "gives last_hidden_state, and no logits"),
    ],
)
def test_a_graph_with_other_arrays_is_named(loose: Path, old: str, new: str, message: str) -> None:
    graph = onnx.load(loose / "model.onnx")
    for array in (*graph.graph.input, *graph.graph.output):
        array.name = new if array.name == old else array.name
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    onnx.save(graph, loose / "model.onnx")

    with pytest.raises(BundleError, match=message):
        open_onnx(str(loose / "model.onnx"), 24, "cpu", 1)


def test_a_graph_of_other_integers_is_named(loose: Path) -> None:
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT32, ["b", "s"])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.INT32, ["b", "s"])
    graph = helper.make_graph([helper.make_node("Identity", ["input_ids"], ["logits"])], "g", [ids], [logits])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), loose / "model.onnx")

    with pytest.raises(BundleError, match=r"takes input_ids as tensor\(int32\)"):
        open_onnx(str(loose / "model.onnx"), 24, "cpu", 1)
