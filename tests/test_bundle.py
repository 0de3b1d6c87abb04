"""The manifest and the files that it answers for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle, copy_files, require_replaceable, sign, stamp
from kd_deploy.errors import BundleError, UsageError
from kd_deploy.manifest import Manifest
from kd_deploy.runtime import load


@pytest.fixture
def copy(bilstm: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bilstm.path, tmp_path / "bundle"))


def change(folder: Path, **fields: Any) -> None:
    manifest = json.loads((folder / "bundle.json").read_text()) | fields
    (folder / "bundle.json").write_text(json.dumps(manifest))


def files_of(bundle: Bundle) -> list[str]:
    return sorted(bundle.manifest.files)


def test_a_bundle_answers_for_every_file_in_it(copy: Path) -> None:
    bundle = Bundle.open(copy)

    bundle.verify()
    assert set(files_of(bundle)) == {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} - {
        "bundle.json"
    }


def test_any_byte_of_any_file_counts(copy: Path) -> None:
    bundle = Bundle.open(copy)
    for name in files_of(bundle):
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 3] ^= 0x20
        (copy / name).write_bytes(content)
        with pytest.raises(BundleError, match=name):
            bundle.verify()
        content[len(content) // 3] ^= 0x20
        (copy / name).write_bytes(content)
    bundle.verify()


def test_a_file_that_is_cut_gone_or_a_link_is_named(copy: Path, tmp_path: Path) -> None:
    bundle, path = Bundle.open(copy), copy / "tokenizer.json"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match="not the file that was signed"):
        bundle.file("tokenizer.json")
    path.unlink()
    with pytest.raises(BundleError, match="missing or is a link"):
        bundle.file("tokenizer.json")
    (tmp_path / "elsewhere").write_bytes(content)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="missing or is a link"):
        bundle.file("tokenizer.json")


@pytest.mark.parametrize("name", ["extra.py", "onnx/more.onnx", ".hidden"])
def test_a_file_that_the_manifest_does_not_know_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_text("")

    with pytest.raises(BundleError, match=f"holds {name}"):
        Bundle.open(copy).verify()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "onnx/../../outside", ".."])
def test_a_manifest_that_names_files_outside_is_refused(copy: Path, name: str) -> None:
    change(copy, files={name: {"sha256": "0" * 64, "size_bytes": 1}})

    with pytest.raises(BundleError, match=r"bundle\.json is damaged"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"schema_version": 1}', "\x00", '{"schema_version": 2}']
)
def test_a_damaged_manifest_is_named(copy: Path, content: str) -> None:
    (copy / "bundle.json").write_text(content)

    with pytest.raises(BundleError, match=r"bundle\.json is damaged") as caught:
        Bundle.open(copy)
    assert caught.value.exit_code == 8


def test_a_manifest_that_is_not_text_is_named(copy: Path) -> None:
    (copy / "bundle.json").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BundleError, match="damaged"):
        Bundle.open(copy)


def test_keys_of_a_later_version_are_no_fault(copy: Path) -> None:
    change(copy, invented_later=[1, 2])

    assert Bundle.open(copy).manifest.labels == ("bad", "good")


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        Bundle.open(tmp_path / "nothing")
    with pytest.raises(BundleError, match="is not a bundle") as caught:
        Bundle.open(tmp_path)
    assert "export" in caught.value.hint


def test_a_graph_that_was_not_exported_is_named_with_those_that_were(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"no fp16 graph \(it has: fp32, int8\)"):
        Bundle.open(copy).graph("fp16")


def test_a_file_that_it_does_not_have_is_named(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"has no vocab\.txt"):
        Bundle.open(copy).file("vocab.txt")


def test_size_is_the_model_in_one_precision_and_its_tokenizer(copy: Path) -> None:
    bundle = Bundle.open(copy)
    sizes = {name: (copy / name).stat().st_size for name in files_of(bundle)}

    assert bundle.size_bytes("torch") == sizes["model.safetensors"] + sizes["tokenizer.json"]
    assert bundle.size_bytes("int8") == sizes["onnx/model_quantized.onnx"] + sizes["tokenizer.json"]


def test_copies_are_bytes_never_links(copy: Path, tmp_path: Path) -> None:
    copy_files(copy, tmp_path / "other", ["onnx/model.onnx"])

    made = tmp_path / "other" / "onnx" / "model.onnx"
    assert made.read_bytes() == (copy / "onnx" / "model.onnx").read_bytes()
    assert made.stat().st_ino != (copy / "onnx" / "model.onnx").stat().st_ino


def test_a_signed_folder_opens_as_it_was_signed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    manifest = Manifest(
        **stamp(),
        task="text-classification",
        architecture="bilstm",
        labels=("a", "b"),
        problem_type="single_label_classification",
        max_length=8,
        inputs=("input_ids",),
        parameters=1,
    )

    sign(tmp_path, manifest)

    bundle = Bundle.open(tmp_path)
    bundle.verify()
    assert bundle.manifest == manifest.model_copy(update={"files": bundle.manifest.files})
    assert files_of(bundle) == ["config.json"]


def test_links_out_of_a_bundle_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "root").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="holds root"):
        Bundle.open(copy).verify()
    (copy / "root").unlink()
    (copy / "onnx").rename(tmp_path / "onnx")
    (copy / "onnx").symlink_to(tmp_path / "onnx")
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(copy).verify()


@pytest.mark.parametrize(
    ("manifest", "beside", "named"),
    [
        ('{"name": "mine"}', "thesis.tex", "bundle.json"),
        ('{"name": "mine"}', "config.json", "bundle.json"),
        ('{"kd_deploy": "9.0.0", "schema_version": 9}', "notes.md", "notes.md"),
        ('{"kd_dep', "notes.md", "notes.md"),
    ],
)
def test_what_is_not_ours_is_not_replaced(tmp_path: Path, manifest: str, beside: str, named: str) -> None:
    (tmp_path / "bundle.json").write_text(manifest)
    (tmp_path / beside).write_text("kept")

    with pytest.raises(UsageError, match=f"holds {named}, which would be lost"):
        require_replaceable(tmp_path)


@pytest.mark.parametrize("manifest", ['{"kd_deploy": "9.0.0", "schema_version": 9}', '{"kd_dep', ""])
def test_a_damaged_bundle_may_be_made_again(copy: Path, manifest: str) -> None:
    (copy / "bundle.json").write_text(manifest)

    require_replaceable(copy)


@pytest.mark.parametrize(("limit", "message"), [(0, "max_length"), (-1, "max_length"), (5000, "24 positions")])
def test_a_length_that_no_model_has_is_refused(bert: Bundle, tmp_path: Path, limit: int, message: str) -> None:
    folder = Path(shutil.copytree(bert.path, tmp_path / "bundle"))
    change(folder, max_length=limit)

    with pytest.raises(BundleError, match=message):
        load(folder)
