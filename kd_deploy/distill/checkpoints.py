"""Model folders: finding them, loading and saving models."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.students.own import FAMILIES, OwnStudent, is_ours, own_config, own_student
from kd_deploy.distill.tokenizer_files import pad_id_of, tokenizer_file, tokenizer_settings
from kd_deploy.errors import BundleError
from kd_deploy.tasks.text_classification import LabelSpace

UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


def find_model(reference: str) -> Path:
    """The local folder of a model: the folder itself, or a hub id's snapshot.

    Raises:
        BundleError: Nothing there, or a checkpoint that cannot be trusted.
    """
    folder = Path(reference)
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
    if folder.exists() or reference.startswith((".", "/", "~")) or reference.count("/") > 1:
        raise BundleError(f"there is no model folder {reference}", hint="check the path")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        found = Path(snapshot_download(reference, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise BundleError(
            f"there is no folder {reference}, and the hub gave no model of that name: {str(error).splitlines()[0]}",
            hint="check the path or the id, and the network; HF_TOKEN opens private models",
        ) from error
    check_checkpoint(found)
    return found


def load_model(folder: Path, *, labels: LabelSpace | None = None) -> nn.Module:
    """The classifier in a folder, in fp32 and evaluation mode.

    Args:
        folder: A checkpoint that `find_model` gave.
        labels: Classes to give it a new head for. None: it has its own.

    Raises:
        BundleError: The weights do not load.
    """
    try:
        if check_checkpoint(folder).get("model_type") in FAMILIES:
            return _load_own(folder)
        return _load_transformer(folder, labels)
    except UNLOADABLE as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise BundleError(f"{folder} does not load as a classifier: {reason}", hint="check the checkpoint") from error


def _load_transformer(folder: Path, labels: LabelSpace | None) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    hush_transformers()

    # Eager attention: the form that exports to ONNX and fuses there.
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
    if labels is not None:
        options |= label_fields(labels) | {"ignore_mismatched_sizes": True}
    model, told = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, **options
    )
    if labels is None and told["missing_keys"]:
        # transformers would fill them with random numbers and warn.
        raise BundleError(f"{folder} lacks the weight {min(told['missing_keys'])}", hint="save the checkpoint again")
    return model.eval()  # type: ignore[no-any-return]


def hush_transformers() -> None:
    """No bar for every file it reads or writes, no advice: what matters of it we say ourselves."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_error()


def label_fields(labels: LabelSpace) -> dict[str, Any]:
    """The fields of config.json that say what the logits mean."""
    return {
        "num_labels": len(labels.names),
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
        "problem_type": labels.problem_type,
    }


def labels_of(folder: Path) -> LabelSpace | None:
    """The classes that a checkpoint's head has learned; None where it has no such head.

    Names that only count (LABEL_0, LABEL_1) are given as plain numbers.
    """
    config = check_checkpoint(folder)
    architectures = config.get("architectures") or []
    if not any("ForSequenceClassification" in name for name in architectures):
        return None
    by_id = {int(key): str(name) for key, name in (config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}).items()}
    names = tuple(by_id[key] for key in sorted(by_id))
    if names == tuple(f"LABEL_{index}" for index in range(len(names))):
        names = tuple(str(index) for index in range(len(names)))
    multi = config.get("problem_type") == "multi_label_classification"
    return LabelSpace(
        names=names, problem_type="multi_label_classification" if multi else "single_label_classification"
    )


def save_model(model: nn.Module, folder: Path, *, labels: LabelSpace, max_length: int, tokenizer_from: Path) -> None:
    """Write a checkpoint that transformers and its kin load: config, weights, tokenizer.

    Args:
        model: In fp32.
        folder: An empty folder.
        labels: The classes of the logits.
        max_length: The length limit that tokenizer_config.json is to state.
        tokenizer_from: The folder whose tokenizer the model was trained with.
    """
    if is_ours(model):
        model_type = _save_own(model, folder, labels)
    else:
        config: Any = model.config
        for key, value in label_fields(labels).items():
            setattr(config, key, value)
        config.pad_token_id = pad_id_of(tokenizer_from)
        model.save_pretrained(folder)  # type: ignore[operator]
        model_type = config.model_type
    shutil.copyfile(tokenizer_file(tokenizer_from), folder / "tokenizer.json")
    settings = tokenizer_settings(tokenizer_from, model_type) | {"model_max_length": max_length}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _load_own(folder: Path) -> nn.Module:
    model = own_student(check_checkpoint(folder))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def _save_own(model: OwnStudent, folder: Path, labels: LabelSpace) -> str:
    config = own_config(model) | label_fields(labels)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return str(config["model_type"])
