"""The factories of the benchmark's processes: a bundle, and a bare .onnx file beside its tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.errors import BundleError
from kd_deploy.runtime.open import open_bundle, open_onnx

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
