"""A Hugging Face checkpoint folder, looked at before anything in it is loaded."""

import json
from pathlib import Path
from typing import Any

from kd_deploy.errors import BundleError

BESIDE = ("tokenizer_config.json", "generation_config.json")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def require_model(reference: str) -> None:
    """Refuse a name that is no folder, and cannot be a model of the hub; nothing is fetched.

    Raises:
        BundleError: Neither.
    """
    path = Path(reference)
    if path.is_dir():
        return
    if path.exists():
        raise BundleError(f"{reference} is a file, and a model is a folder", hint="name the folder of a checkpoint")
    if reference.startswith((".", "/", "~")) or reference.count("/") > 1:
        raise BundleError(f"there is no model folder {reference}", hint="check the path")


def inside_a_run(folder: Path, *, marker: str) -> str:
    """Which model to name in place of a run's folder; empty where it is none.

    Args:
        folder: What was named.
        marker: A file that the model has.
    """
    own = folder / "student"
    return f"it is the folder of a run: name {own}" if (own / marker).is_file() else ""


def check_checkpoint(folder: Path) -> dict[str, Any]:
    """The config of a Hugging Face checkpoint folder that is safe to load.

    Raises:
        BundleError: No config.json, weights only as pickle, remote code, or links out of the folder.
    """
    config = _config_of(folder)
    for key in ("auto_map", "_attn_implementation_internal"):
        if key in config:
            raise BundleError(
                f"{folder / 'config.json'} asks for code of its own ({key})",
                hint="use a checkpoint without remote code",
            )
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not _may_link(path, inside):
            raise BundleError(f"{path} is a link out of {folder}", hint="copy the checkpoint's files themselves")
    if not list(folder.glob("*.safetensors")):
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        held = f"holds its weights as pickle ({pickles[0]})" if pickles else "holds no model.safetensors"
        raise BundleError(f"{folder} {held}", hint="if you trust it, open it with transformers and save_pretrained it")
    for name in BESIDE:  # they are read late, and then all is trained
        read_settings(folder / name)
    return config


def _may_link(path: Path, inside: Path) -> bool:
    # The hub's own cache is made of links from snapshots/REV/ into blobs/ of the same model.
    target = path.resolve()
    blobs = inside.parent.parent / "blobs"
    return target.is_relative_to(inside) or (inside.parent.name == "snapshots" and target.is_relative_to(blobs))


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise BundleError(f"there is no model folder {folder}", hint="check the path")
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a checkpoint: it has no config.json",
            hint=inside_a_run(folder, marker=path.name) or "check the path",
        )
    return read_settings(path)


def read_settings(path: Path) -> dict[str, Any]:
    """What a JSON file of a checkpoint says; nothing where it is not there.

    Raises:
        BundleError: It is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON", hint="save the checkpoint again") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path} holds no settings of a model", hint="save the checkpoint again")
    return found
