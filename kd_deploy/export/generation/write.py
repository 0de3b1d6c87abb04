"""A torch model that writes to the files of its graphs in full precision."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from kd_deploy.bundle import DECODER, ENCODER, WHOLE
from kd_deploy.export.generation.causal import causal_part
from kd_deploy.export.generation.lstm import is_recurrent, lstm_decoder_part, lstm_encoder_part
from kd_deploy.export.generation.seq2seq import decoder_part, encoder_part
from kd_deploy.export.generation.tracing import Part, plain_attention, write_part


def export_written(model: nn.Module, folder: Path, *, opset: int) -> dict[str, Path]:
    """Write the fp32 graphs of a model that writes, and say which part lies where.

    Args:
        model: A causal language model or an encoder-decoder of transformers, or our LSTM; in evaluation mode.
        folder: Where the files go; it must be there.
        opset: ONNX opset of the standard domain.

    Returns:
        The file of `model`, or those of `encoder_model` and `decoder_model_merged`.

    Raises:
        ExportError: The model does not trace, or a graph is not one that other runtimes open.
    """
    if is_recurrent(model):
        return _write(folder, {ENCODER: lstm_encoder_part(model), DECODER: lstm_decoder_part(model)}, opset=opset)
    pretrained = cast("PreTrainedModel", model)
    with plain_attention(pretrained):
        if pretrained.config.is_encoder_decoder:
            parts = {ENCODER: encoder_part(pretrained), DECODER: decoder_part(pretrained)}
        else:
            parts = {WHOLE: causal_part(pretrained)}
        return _write(folder, parts, opset=opset)


def _write(folder: Path, parts: Mapping[str, Part], *, opset: int) -> dict[str, Path]:
    files = {name: folder / f"{name}.onnx" for name in parts}
    for name, part in parts.items():
        write_part(part, files[name], opset=opset)
    return files
