"""What the graphs of models that write have in common: one call of the exporter, masks and caches."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from kd_deploy.errors import ExportError
from kd_deploy.export.generation.heads import name_heads
from kd_deploy.export.generation.last_logits import offer_last
from kd_deploy.export.generation.shared_table import share_table
from kd_deploy.export.graph import check_graph
from kd_deploy.export.saving import save_graph

SAMPLE = 2  # rows of a sample, and its new tokens: nothing that a graph may take for a constant
PAST = 3  # positions of a sample's past
SOURCE_LENGTH = 4  # tokens of a sample's source

Axes = Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A graph to be: a module that takes its arrays by position, a sample of each, and the axes that are free.

    `last`: its head can be asked for the last tokens alone.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    axes: Mapping[str, Axes]
    last: bool = False


def write_part(part: Part, target: Path, *, opset: int) -> None:
    """Trace a module and write its graph, with the names and axes of its part.

    Raises:
        ExportError: The module does not trace, or the graph is not one that other runtimes open.
    """
    # Aside: the weights of a graph beyond 2 GB come in a file each.
    with tempfile.TemporaryDirectory(prefix="kd-deploy-", dir=target.parent) as aside:
        graph = _traced(part, Path(aside) / target.name, opset=opset)
    share_table(graph)
    name_heads(graph)
    if part.last:
        offer_last(graph)
    _name_axes(graph.graph.output, part)
    save_graph(graph, target)
    check_graph(target, inputs=list(part.inputs), outputs=part.outputs, opset=opset)


def _traced(part: Part, path: Path, *, opset: int) -> onnx.ModelProto:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracer warnings on shapes, which parity judges
            torch.onnx.export(
                part.module.eval(),
                tuple(part.inputs.values()),
                str(path),
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                dynamic_axes={name: dict(axes) for name, axes in part.axes.items()},
                opset_version=opset,
                dynamo=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(
            f"{path.name} does not export to ONNX: {str(error).splitlines()[0]}",
            hint="use a model of the GPT-2, Llama, BART, Marian or T5 kind, or an LSTM",
        ) from error
    return onnx.load(path)


def _name_axes(outputs: Iterable[onnx.ValueInfoProto], part: Part) -> None:
    # The exporter loses sizes behind packed sequences; those of the sample hold wherever an axis is not free.
    with torch.no_grad():
        found = part.module(*part.inputs.values())
    samples = dict(zip(part.outputs, [found] if isinstance(found, Tensor) else found, strict=True))
    for output in outputs:
        free = part.axes.get(output.name, {})
        shape = [free.get(axis, size) for axis, size in enumerate(samples[output.name].shape)]
        output.CopyFrom(helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, shape))


def each(names: Iterable[str], axes: Axes) -> dict[str, Axes]:
    """The same axes for every one of these arrays."""
    return dict.fromkeys(names, axes)


def source_mask() -> Tensor:
    """The mask of a sample's sources, [B, S], padded on the right."""
    mask = torch.ones(SAMPLE, SOURCE_LENGTH, dtype=torch.int64)
    mask[0, -1] = 0
    return mask


@contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention as products and a softmax, which is what takes a mask of our own; afterwards as it was."""
    before = model.config._attn_implementation  # noqa: SLF001 - transformers has a setter and no getter
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def additive(allowed: Tensor) -> Tensor:
    """What is added to attention scores: 0 where a key may be seen, and the lowest number elsewhere."""
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)


def causal(keys: Tensor, queries: int) -> Tensor:
    """Which key each of the last tokens may see: those that stand before it, and itself.

    Args:
        keys: Which keys there are, bool, [B, K].
        queries: How many of the last keys are tokens that ask.

    Returns:
        bool, [B, 1, queries, K].
    """
    length = keys.shape[1]
    column = torch.arange(length)
    row = torch.arange(queries) + (length - queries)
    return keys[:, None, None, :] & (column[None, :] <= row[:, None])


def cache_of(pairs: Sequence[tuple[Tensor, Tensor]]) -> DynamicCache:
    """A cache that holds these keys and values, a pair for each layer, [B, heads, past, width]."""
    cache = DynamicCache()
    for keys, values in pairs:
        # Not by update(): that joins them to an empty array of another rank, which ONNX cannot.
        layer = DynamicLayer()
        layer.dtype, layer.device = keys.dtype, keys.device
        layer.keys, layer.values, layer.is_initialized = keys, values, True
        cache.layers.append(layer)
    return cache


def pairs_of(cache: DynamicCache | None) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer of a cache.

    Raises:
        ExportError: There is none, or some layers forget: those of a sliding window.
    """
    layers = getattr(cache, "layers", [])
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise ExportError(
            "the model keeps no cache of keys and values in which every layer remembers all tokens",
            hint="use a model of the GPT-2, Llama, BART, Marian or T5 kind, without a sliding window",
        )
    return [(layer.keys, layer.values) for layer in layers]


def in_pairs(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Neighbours two by two."""
    return list(zip(tensors[::2], tensors[1::2], strict=True))
