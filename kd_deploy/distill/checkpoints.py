"""Model folders: finding them, loading and saving models."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kd_deploy.checkpoint import check_checkpoint, require_model
from kd_deploy.distill.heads import auto_class, label_fields
from kd_deploy.distill.students.dropout import rates_in
from kd_deploy.distill.students.own import FAMILIES, OwnStudent, is_ours, own_config, own_student
from kd_deploy.distill.students.pooling import Embedder, embedder, read_pooling, write_bag, write_pooling
from kd_deploy.distill.students.static import Static, folded
from kd_deploy.distill.students.transformer import sees_ahead, width_of
from kd_deploy.distill.tokenizer_files import pad_id_of, tokenizer_file, tokenizer_settings, writer_settings
from kd_deploy.errors import BundleError
from kd_deploy.tasks.configs import labels_in, task_in
from kd_deploy.tasks.encoding import open_tokenizer
from kd_deploy.tasks.registry import TASKS, task_of, writes
from kd_deploy.tasks.task import LabelSpace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

POOLER = "pooler."  # a layer over the first token that vectors of sentences are not made with
OF_HEADS = ("head", "classifier", "pair", "bigrams")  # what our own students have above the words and their states
UNLOADABLE = (OSError, LookupError, ValueError, TypeError, RuntimeError, AssertionError, SafetensorError)


def find_model(reference: str) -> Path:
    """The local folder of a model: the folder itself, or a hub id's snapshot.

    Raises:
        BundleError: Nothing there, or a checkpoint that cannot be trusted.
    """
    require_model(reference)
    folder = Path(reference)
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
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


def config_of(folder: Path) -> "PreTrainedConfig":
    """The config of a transformer's checkpoint.

    Raises:
        BundleError: This transformers does not know models of its type.
    """
    from transformers import AutoConfig

    with _loading(folder):
        return AutoConfig.from_pretrained(folder, local_files_only=True)


def load_model(folder: Path, *, labels: LabelSpace | None = None, dropout: float | None = None) -> nn.Module:
    """The model in a folder, in fp32 and evaluation mode.

    Args:
        folder: A checkpoint that `find_model` gave.
        labels: Answers to give it a new head for. None: it has its own.
        dropout: The rate of a transformer in training. None: that of the checkpoint.

    Raises:
        BundleError: The weights do not load.
    """
    with _loading(folder):
        if check_checkpoint(folder).get("model_type") in FAMILIES:
            return _load_own(folder, labels)
        return _load_transformer(folder, labels, dropout)


@contextlib.contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """A block in which whatever a library says against a checkpoint becomes one sentence."""
    try:
        yield
    except UNLOADABLE as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise BundleError(f"{folder} does not load: {reason}", hint="check the checkpoint") from error


def _load_transformer(folder: Path, labels: LabelSpace | None, dropout: float | None) -> nn.Module:
    hush_transformers()
    config = check_checkpoint(folder)
    task = labels.task if labels else task_in(config)
    if task is None:
        raise ValueError("it has no head of a task")
    if task == "text-generation" and sees_ahead(config):
        raise BundleError(
            f"{folder} is a {config.get('model_type')}, which sees the tokens that a language model is to predict",
            hint="name a model of the GPT-2 or Llama kind",
        )
    # Eager attention: the form that exports to ONNX and fuses there.
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
    options |= dict.fromkeys(() if dropout is None else rates_in(config_of(folder).to_dict()), dropout)
    if labels is not None:
        options |= label_fields(labels) | {"ignore_mismatched_sizes": True}
    model, told = auto_class(task).from_pretrained(folder, use_safetensors=True, output_loading_info=True, **options)
    lacking = [name for name in told["missing_keys"] if not name.startswith(POOLER)]
    if labels is not None:
        lacking = [name for name in lacking if not _is_new(name, model)]
    if lacking:  # transformers would fill them with random numbers and warn
        raise BundleError(f"{folder} lacks the weight {min(lacking)}", hint="save the checkpoint again")
    if model.config.pad_token_id is None:  # GPT-2 and its like; a batch has to be told by which token it ends
        with contextlib.suppress(BundleError):
            model.config.pad_token_id = pad_id_of(folder)
    if TASKS[task].ANSWERS == "vector":
        return embedder(model, read_pooling(folder)).eval()
    return model.eval()  # type: ignore[no-any-return]


def _is_new(name: str, model: "PreTrainedModel") -> bool:
    """Whether a weight is of the head, pooling before it included: what a checkpoint for other labels lacks."""
    body = model.base_model_prefix
    in_body = name.startswith(f"{body}.") if hasattr(model, body) else True
    return not in_body or f".{POOLER}" in name


def hush_transformers() -> None:
    """No bar for every file it reads or writes, no advice: what matters of it we say ourselves."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_error()


def labels_of(folder: Path, task: str | None = None) -> LabelSpace | None:
    """The answers that a checkpoint's head has learned to give; None where it has no head of the task.

    Args:
        folder: A checkpoint.
        task: Which task; None: whichever it has a head for.
    """
    config = check_checkpoint(folder)
    found = task or task_in(config)
    return labels_in(config, found) if found else None


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
        model_type = _save_own(model, folder, labels, tokenizer_from=tokenizer_from)
    else:
        config: Any = model.config
        for key, value in label_fields(labels).items():
            setattr(config, key, value)
        config.pad_token_id = pad_id_of(tokenizer_from)
        model.save_pretrained(folder)  # type: ignore[operator]
        model_type = config.model_type
    if isinstance(model, Embedder):
        write_pooling(folder, model.pooling, width=width_of(model.config), max_length=max_length)
    shutil.copyfile(tokenizer_file(tokenizer_from), folder / "tokenizer.json")
    settings = tokenizer_settings(tokenizer_from, model_type) | {"model_max_length": max_length}
    if writes(labels):
        settings = writer_settings(tokenizer_from) | settings
    if labels.task == "text-generation":  # a prompt must end where the answer begins
        settings["padding_side"] = "left"
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _load_own(folder: Path, labels: LabelSpace | None) -> nn.Module:
    config, weights = check_checkpoint(folder), load_file(folder / "model.safetensors")
    if labels is not None:  # as transformers does: what is of another size, or not there, is made anew
        task = task_of(labels)
        config |= label_fields(labels) | {"head": "vector" if task.ANSWERS == "vector" else task.LEVEL}
    model = own_student(config)
    if labels is not None:
        for name, value in model.state_dict().items():
            if name.startswith(OF_HEADS) and (name not in weights or weights[name].shape != value.shape):
                weights[name] = value
        weights = {name: weights[name] for name in model.state_dict()}
    model.load_state_dict(weights)
    return model.eval()


def _save_own(model: OwnStudent, folder: Path, labels: LabelSpace, *, tokenizer_from: Path) -> str:
    config = own_config(model) | label_fields(labels)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if isinstance(model, Static) and model.sizes.head == "vector":
        state = folded(model)
        around = open_tokenizer(tokenizer_file(tokenizer_from)).encode("").ids
        if {*around} <= {*model.sizes.left_out}:  # a model from before counts them, and is no plain bag
            write_bag(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return str(config["model_type"])
