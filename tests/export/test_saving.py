"""Weights beyond what one file holds lie beside their graph, and nobody who opens it notices."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle, data_beside
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.errors import BundleError
from kd_deploy.export import saving
from kd_deploy.export.bundle import export_bundle
from kd_deploy.export.generation.quantize import to_int4, to_int8
from kd_deploy.export.generation.write import export_written
from kd_deploy.export.settings import ExportSettings
from kd_deploy.runtime.session import OrtRunner
from tests import tiny
from tests.export.generation.conftest import built


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "MOST_BYTES", 1)


def again(bundle: Bundle, output: Path, **settings: object) -> Bundle:
    model = load_model(bundle.path)
    chosen = ExportSettings(**{"precisions": ("fp32", "int8"), **settings})  # type: ignore[arg-type]
    return export_bundle(bundle, output, model=model, runner=TorchRunner(model), settings=chosen)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("kind", ["bert", "bilstm"])
def test_a_graph_in_two_files_answers_as_one_in_one(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    whole: Bundle = request.getfixturevalue(kind)
    texts = tiny.single_label(20, seed=3).inputs

    apart = again(whole, tmp_path / "apart")

    apart.verify()
    assert {"onnx/model.onnx_data", "onnx/model_quantized.onnx_data"} <= set(apart.manifest.files)
    assert not list(apart.path.rglob("*.data"))
    for precision in ("fp32", "int8"):
        assert data_beside(apart.graph(precision)).stat().st_mode == apart.graph(precision).stat().st_mode
        files = (apart.graph(precision), data_beside(apart.graph(precision)), apart.path / "tokenizer.json")
        assert sum(one.stat().st_size for one in files) == apart.size_bytes(precision)
        with runtime.load(whole, precision=precision) as one, runtime.load(apart, precision=precision) as two:
            np.testing.assert_array_equal(one.logits(texts), two.logits(texts))


@pytest.mark.usefixtures("little_room")
def test_the_second_file_is_signed_kept_and_removed_with_the_first(bilstm: Bundle, tmp_path: Path) -> None:
    made = again(bilstm, tmp_path / "apart")

    copied = Bundle.open(shutil.copytree(made.path, tmp_path / "damaged"))
    data_beside(copied.path / "onnx" / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(BundleError, match=r"onnx/model\.onnx_data is not the file that was signed"):
        runtime.load(copied, precision="fp32")

    kept = again(made, made.path, precisions=("fp32",), keep=True)
    assert kept.graph("int8").is_file()
    alone = again(kept, made.path, precisions=("int8",))
    alone.verify()
    assert {name for name in alone.manifest.files if name.startswith("onnx/")} == {
        "onnx/model_quantized.onnx",
        "onnx/model_quantized.onnx_data",
    }


def test_int8_that_fits_again_is_one_file(bilstm: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fp32 = sum(one.stat().st_size for one in (bilstm.path / "onnx").glob("model.onnx*"))
    monkeypatch.setattr(saving, "MOST_BYTES", fp32 // 2)

    made = again(bilstm, tmp_path / "apart")

    made.verify()
    assert {name for name in made.manifest.files if name.startswith("onnx/")} == {
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "onnx/model_quantized.onnx",
    }


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_graphs_that_write_come_in_two_files_too(family: str, tmp_path: Path) -> None:
    parts = export_written(built(family), tmp_path, opset=17)

    for part, path in parts.items():
        eight, four = tmp_path / f"{part}_quantized.onnx", tmp_path / f"{part}_q4.onnx"
        to_int8(path, eight, reduce_range=False)
        to_int4(path, four, reduce_range=False)
        for one in (path, eight, four):
            assert data_beside(one).stat().st_size > one.stat().st_size / 4
            OrtRunner(one).close()
    assert {one.suffix for one in tmp_path.iterdir()} == {".onnx", ".onnx_data"}
