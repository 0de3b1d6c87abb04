"""A torch model behind the Runner protocol, and what it takes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from kd_deploy.checkpoint import check_checkpoint, read_settings
from kd_deploy.distill.tokenizer_files import pad_id_of, tokenizer_file
from kd_deploy.runner import Batch, Outputs
from kd_deploy.runtime.loading import GENERATION
from kd_deploy.tasks import fill_mask
from kd_deploy.tasks.configs import marks_in, task_in
from kd_deploy.tasks.encoding import Encoder, Marks
from kd_deploy.tasks.heads import OUTPUT, Head
from kd_deploy.tasks.registry import graph_outputs, task_of


class TorchRunner:
    """A model in evaluation mode."""

    def __init__(self, model: nn.Module, *, device: str = "cpu", heads: Mapping[str, Head] | None = None) -> None:
        """Take the model to a device.

        Args:
            model: With the head of a task.
            device: cpu, cuda, or what else this torch has.
            heads: Its tasks, each with an output of its own where there are several; None: all logits are one output.
        """
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._heads = tuple(heads.values()) if heads else ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that the model takes."""
        return input_names(self._model)

    @torch.inference_mode()
    def run(self, batch: Batch) -> Outputs:
        """One forward pass over a padded batch [B, S]."""
        arrays = {name: torch.from_numpy(batch[name]).to(self._device) for name in self.input_names}
        shown = self._model(**arrays)
        names = graph_outputs(task_of(self._heads[0].labels)) if self._heads else (OUTPUT,)
        values = {name: getattr(shown, name).float().cpu().numpy() for name in names}
        if len(self._heads) > 1:
            return {head.output: values[OUTPUT][:, head.columns] for head in self._heads}
        return values

    def close(self) -> None:
        """Free the model."""
        del self._model


def input_names(model: nn.Module) -> tuple[str, ...]:
    """The arrays that a model's forward takes from an encoder of texts."""
    if hasattr(model, "input_names"):
        return cast("tuple[str, ...]", model.input_names)
    if getattr(model.config, "is_encoder_decoder", False) and _gives_words(model):
        return ("input_ids", "attention_mask", "decoder_input_ids")
    segments = getattr(model.config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", "token_type_ids") if segments else ("input_ids", "attention_mask")


def _gives_words(model: nn.Module) -> bool:
    """Whether an encoder-decoder writes; one that classifies makes what its decoder reads of the text itself."""
    return getattr(model, "get_output_embeddings", lambda: None)() is not None


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model has learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def open_encoder(folder: Path, *, max_length: int) -> Encoder:
    """The encoder of a checkpoint folder."""
    said = read_settings(folder / GENERATION)
    config = check_checkpoint(folder)
    encoder = Encoder.from_file(
        tokenizer_file(folder), max_length=max_length, pad_id=pad_id_of(folder), marks=marks_in(config, said)
    )
    if task_in(config) != fill_mask.NAME:
        return encoder
    around = encoder.encode("").ids  # what it reads around a text is what it teaches others to write around one
    return replace(encoder, marks=Marks(starts=tuple(around[:1]), ends=tuple(around[-1:])))
