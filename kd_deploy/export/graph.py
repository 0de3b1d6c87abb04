"""A torch classifier to one ONNX file, by one of two backends behind one function."""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

from kd_deploy.errors import ExportError, MissingExtraError
from kd_deploy.export.saving import save_graph
from kd_deploy.tasks.registry import graph_outputs, outputs_of_tokens
from kd_deploy.tasks.task import Task

Backend = Literal["torch", "optimum"]
MAX_IR_VERSION = 10  # onnxruntime 1.23 and newer open it
# What optimum calls a task that it calls otherwise, by the head that answers it.
OPTIMUM_NAMES = {"ForSequenceClassification": "text-classification", "": "feature-extraction"}
STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")


def export_graph(
    model: nn.Module,
    target: Path,
    *,
    task: Task,
    inputs: Sequence[str],
    opset: int,
    backend: Backend = "torch",
    checkpoint: Path,
) -> None:
    """Write a model as ONNX: int64 inputs [batch, sequence], and the outputs of its task.

    Args:
        model: In evaluation mode.
        target: The .onnx file to write.
        task: Says what the outputs are called.
        inputs: Names of the arrays that its forward takes, in the graph's order.
        opset: ONNX opset of the standard domain.
        backend: torch, our own call of torch.onnx.export; or optimum, which reads `checkpoint`.
        checkpoint: The folder that the model was loaded from.

    Raises:
        ExportError: The model does not trace, or the graph is not one that other runtimes open.
    """
    if backend == "optimum":
        _export_with_optimum(checkpoint, target, task=task, opset=opset)
    else:
        _export_with_torch(model, target, task=task, inputs=inputs, opset=opset)
    check_graph(target, inputs=inputs, outputs=graph_outputs(task), opset=opset)


def check_graph(path: Path, *, inputs: Sequence[str], outputs: Sequence[str], opset: int) -> None:
    """Hold a graph against the contract: names, opset, IR, domains.

    Raises:
        ExportError: Naming the first thing that differs.
    """
    graph = onnx.load(path, load_external_data=False)
    defaults = {one.name for one in graph.graph.initializer}
    have = [one.name for one in graph.graph.input if one.name not in defaults]
    gives = [one.name for one in graph.graph.output]
    domains = {one.domain: one.version for one in graph.opset_import}
    strange = sorted({node.domain for node in graph.graph.node} - set(STANDARD_DOMAINS))
    faults = (
        (sorted(have) != sorted(inputs), f"its inputs are {have}, not {list(inputs)}"),
        (not set(outputs) <= set(gives), f"its outputs are {gives}, not {list(outputs)}"),
        (domains.get("", domains.get("ai.onnx")) != opset, f"its opset is {domains}, not {opset}"),
        (graph.ir_version > MAX_IR_VERSION, f"its IR version {graph.ir_version} is above {MAX_IR_VERSION}"),
        (bool(strange), f"it uses the operator domain {strange}"),
    )
    for wrong, what in faults:
        if wrong:
            raise ExportError(f"the exported graph does not meet the contract: {what}", hint="try --backend torch")


class _Named(nn.Module):
    """A model that takes its arrays by position and gives the outputs of its task alone."""

    def __init__(self, model: nn.Module, *, names: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.outputs = tuple(outputs)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in their order."""
        shown = self.model(**dict(zip(self.names, arrays, strict=True)))
        return tuple(getattr(shown, name) for name in self.outputs)


def _export_with_torch(model: nn.Module, target: Path, *, task: Task, inputs: Sequence[str], opset: int) -> None:
    # A padded sample: from an all-ones mask the exporter concludes that there is no mask.
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 0, 0]])
    arrays = {"input_ids": ids, "attention_mask": (ids > 0).long(), "token_type_ids": torch.zeros_like(ids)}
    axes = {name: {0: "batch", 1: "sequence"} for name in (*inputs, *outputs_of_tokens(task))}
    axes = {name: axes.get(name, {0: "batch"}) for name in (*inputs, *graph_outputs(task))}
    wrapped = _Named(model, names=inputs, outputs=graph_outputs(task)).cpu().eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracer warnings on shapes, which parity judges
            torch.onnx.export(
                wrapped,
                tuple(arrays[name] for name in inputs),
                str(target),
                input_names=list(inputs),
                output_names=list(graph_outputs(task)),
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
        raise ExportError(
            f"{type(model).__name__} does not export to ONNX: {str(error).splitlines()[0]}",
            hint="use a model of the BERT kind or a BiLSTM",
        ) from error


def _export_with_optimum(checkpoint: Path, target: Path, *, task: Task, opset: int) -> None:
    try:
        from optimum.exporters.onnx import main_export
    except (ImportError, RuntimeError) as error:
        missing = MissingExtraError("--backend optimum", extra="optimum")
        missing.hint += ", in an environment of its own: optimum asks for an older transformers"
        raise missing from error
    # Aside, never beside the target: optimum writes a config and a tokenizer of its own next to the graph.
    with tempfile.TemporaryDirectory(prefix="kd-deploy-") as aside:
        try:
            main_export(
                str(checkpoint),
                output=aside,
                task=OPTIMUM_NAMES.get(task.HEAD, task.NAME),
                opset=opset,
                library_name="transformers",
                local_files_only=True,
                do_validation=False,  # parity judges, over more shapes
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ExportError(
                f"optimum does not export {checkpoint}: {str(error).splitlines()[0]}", hint="use --backend torch"
            ) from error
        graph = onnx.load(Path(aside) / "model.onnx")
    _name_axes(graph.graph.input, ("batch", "sequence"))
    by_token = outputs_of_tokens(task)
    for output in graph.graph.output:
        _name_axes([output], ("batch", "sequence") if output.name in by_token else ("batch",))
    save_graph(graph, target)


def _name_axes(arrays: Iterable[onnx.ValueInfoProto], axes: Sequence[str]) -> None:
    for array in arrays:
        for dimension, axis in zip(array.type.tensor_type.shape.dim, axes, strict=False):
            dimension.dim_param = axis
