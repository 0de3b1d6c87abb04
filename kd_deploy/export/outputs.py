"""One output of logits to one for each task, by an operator at the end of the graph. No torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kd_deploy.export.saving import save_graph
from kd_deploy.tasks.heads import OUTPUT, Head

ALL = "all_logits"
CLASS_AXIS = 1


def split_outputs(path: Path, heads: Sequence[Head]) -> None:
    """Give a graph of one output, the logits [batch, C] of all tasks, an output of its own for each task.

    Args:
        path: The .onnx file, rewritten in place.
        heads: The tasks, in the order of their logits.
    """
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == OUTPUT:
                    names[place] = ALL
    widths = [len(head.labels.names) for head in heads]
    graph.initializer.append(numpy_helper.from_array(np.array(widths, dtype=np.int64), "classes_of_tasks"))
    outputs = [head.output for head in heads]
    graph.node.append(
        helper.make_node("Split", [ALL, "classes_of_tasks"], outputs, name="split_by_task", axis=CLASS_AXIS)
    )
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width])
        for name, width in zip(outputs, widths, strict=True)
    )
    save_graph(model, path)
    onnx.checker.check_model(path)
