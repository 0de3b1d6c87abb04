"""What we made: a folder that other tools load unchanged, with `bundle.json` to answer for every file in it."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from kd_deploy.checkpoint import inside_a_run
from kd_deploy.errors import BundleError, UsageError
from kd_deploy.files import require_ours, require_outside, sha256_file
from kd_deploy.manifest import FileRecord, Manifest

MANIFEST = "bundle.json"
# What transformers.js and optimum look for: the graph's name, then what it is made of.
SUFFIXES = {"fp32": "", "int4": "_q4", "int8": "_quantized"}
PRECISIONS = tuple(SUFFIXES)
WHOLE = "model"  # the part of a model that is one graph
ENCODER, DECODER = "encoder_model", "decoder_model_merged"  # those of one that is two
ENDS_OF_OURS = (".json", ".safetensors", ".onnx", ".onnx_data", ".txt", ".model", "README.md")  # as any bundle has
LEFT_BY_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini"}  # whoever looks into a folder leaves them
LAST_LOGITS = "num_logits_to_keep"  # what a graph may be told: how many of the last tokens are to have logits, 0: all


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle on disk whose manifest was read."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The bundle in a folder; its manifest is checked, its files when they are asked for.

        Raises:
            BundleError: There is no such folder, no manifest in it, or the manifest is not one of ours.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(f"there is no bundle {folder}", hint="kd-deploy distill writes one")
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleError(
                f"{folder} is not a bundle: it has no {MANIFEST}",
                hint=_where_instead(folder),
            ) from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise BundleError(
                f"{folder / MANIFEST} is damaged: {_first_fault(error)}", hint="make the bundle again"
            ) from error
        return cls(path=folder, manifest=manifest)

    def file(self, name: str) -> Path:
        """The path of a file of the bundle, after its hash was compared.

        Raises:
            BundleError: The manifest does not know the file, or it changed since it was signed.
        """
        record = self.manifest.files.get(name)
        path = self.path / name
        if record is None:
            raise BundleError(f"{self.path} has no {name}", hint=f"kd-deploy inspect {self.path} lists what is inside")
        above = (self.path / one for one in Path(name).parents if one != Path())
        if path.is_symlink() or not path.is_file() or any(one.is_symlink() for one in above):
            raise BundleError(f"{path} is missing or is a link", hint="make the bundle again")
        if path.stat().st_size != record.size_bytes or sha256_file(path) != record.sha256:
            raise BundleError(
                f"{path} is not the file that was signed: its SHA-256 differs from {MANIFEST}",
                hint="copy the bundle again, or make it again",
            )
        return path

    def graph(self, precision: str) -> Path:
        """The ONNX file of a precision, after its hash was compared, of a model that is one graph."""
        return self.graphs(precision)[WHOLE]

    def graphs(self, precision: str) -> dict[str, Path]:
        """The ONNX files of a precision by the parts of the model, after their hashes were compared."""
        if precision not in self.manifest.graphs:
            have = ", ".join(self.manifest.graphs) or "none"
            how = {"fp32": "--onnx", "int8": "--onnx --quantize"}.get(precision, f"--precision {precision}")
            raise BundleError(
                f"{self.path} has no {precision} graph (it has: {have})",
                hint=f"kd-deploy export {self.path} {how}",
            )
        for name in self.graph_files(precision):
            self.file(name)
        return {part: self.path / graph_file(precision, part) for part in self.manifest.graphs[precision].parts}

    def graph_files(self, precision: str) -> list[str]:
        """The names of the graphs of a precision, and of the files with their weights where these lie outside."""
        graphs = [graph_file(precision, part) for part in self.manifest.graphs[precision].parts]
        return [*graphs, *(name for name in map(data_of, graphs) if name in self.manifest.files)]

    @property
    def usual_precision(self) -> str | None:
        """The precision that answers where nobody chooses: the smallest; None: there is no graph."""
        return next((one for one in reversed(PRECISIONS) if one in self.manifest.graphs), None)

    def verify(self) -> None:
        """Compare every file with its hash, and refuse files that the manifest does not know."""
        self.verify_known()
        foreign = self.foreign()
        if foreign:
            raise BundleError(f"{self.path} holds {foreign[0]}, which {MANIFEST} does not know", hint="remove it")

    def verify_known(self) -> None:
        """Compare every file that the manifest knows with its hash."""
        for name in self.manifest.files:
            self.file(name)

    def foreign(self) -> list[str]:
        """The files and links in the folder that the manifest does not know."""
        return sorted(_present(self.path) - {*self.manifest.files, MANIFEST})

    def size_bytes(self, precision: str) -> int:
        """What a program needs on disk to answer: the model in one precision and its tokenizer."""
        parts = ["model.safetensors"]
        if precision != "torch":
            parts = self.graph_files(precision)
        return sum(self.manifest.files[name].size_bytes for name in (*parts, "tokenizer.json"))


def require_replaceable(folder: Path) -> None:
    """Refuse to replace a bundle into which somebody has put a file, or what is none of ours: it would be lost.

    Raises:
        UsageError: The file is named.
    """
    if not (folder / MANIFEST).is_file():
        return
    try:
        foreign = Bundle.open(folder).foreign()
    except BundleError:  # damaged, of another version, or not ours at all
        foreign = _strange(folder)
    if foreign:
        raise UsageError(
            f"{folder} is to be made again, and holds {foreign[0]}, which would be lost",
            hint="move the file somewhere else",
        )


def _present(folder: Path) -> set[str]:
    """The files and links in a folder, without what systems leave in any."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)) for path in found if path.name not in LEFT_BY_SYSTEMS}


def _strange(folder: Path) -> list[str]:
    """What cannot be of a bundle, in a folder with a manifest that cannot be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:  # cut off, as by a full disk
        manifest = {"kd_deploy": ""}
    if not isinstance(manifest, dict) or "kd_deploy" not in manifest:
        return [MANIFEST]
    return sorted(one for one in _present(folder) if not one.endswith(ENDS_OF_OURS))


def graph_file(precision: str, part: str = WHOLE) -> str:
    """Where a bundle keeps the graph of a part of its model in a precision."""
    return f"onnx/{part}{SUFFIXES[precision]}.onnx"


def require_place(folder: Path) -> None:
    """Refuse an output that a bundle could not be moved into when it is made.

    Raises:
        UsageError: It holds somebody else's files, or it is the folder that we are in.
    """
    require_ours(folder, marker=MANIFEST)
    require_outside(folder)
    require_replaceable(folder)


def data_of(graph: str) -> str:
    """What the weights of a graph are called where one file cannot hold both."""
    return f"{graph}_data"


def data_beside(graph: Path) -> Path:
    """Where the weights of a graph lie that one file cannot hold."""
    return graph.with_name(data_of(graph.name))


def sign(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a staged folder, with the hash of every file that lies there."""
    files = {
        str(path.relative_to(folder)): FileRecord(sha256=sha256_file(path), size_bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    signed = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_text(signed.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files of a bundle as bytes, never as links."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def stamp() -> dict[str, str]:
    """The creation time and our version, as a manifest holds them."""
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "kd_deploy": metadata.version("kd-deploy")}


def _where_instead(folder: Path) -> str:
    return inside_a_run(folder, marker=MANIFEST) or f"kd-deploy export {folder} --output DIR makes one"


def _first_fault(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
