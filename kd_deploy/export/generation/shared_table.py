"""A table of word vectors that the head shares: one array in the file, where the exporter writes it twice. No torch.

The table is kept as the head's weight, [W, V], in which a token is a column. Products then stay as they are, for
onnxruntime as for quantisation, and a token's vector is gathered along the other axis.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

GATHER = "shared_table"  # the node that reads columns of the head's weight
COLUMNS = 1


def share_table(model: onnx.ModelProto) -> bool:
    """Read word vectors from the head's weight where both are the same numbers; whether anything was."""
    graph = model.graph
    arrays = {one.name: one for one in graph.initializer}
    found = next(_same(graph, arrays), None)
    if found is None:
        return False
    node, weight = found
    table, vectors = node.input[0], node.output[0]
    columns = f"{vectors}_columns"  # [W, batch, sequence]
    replace_node(
        graph,
        node,
        by=[
            helper.make_node("Gather", [weight, node.input[1]], [columns], name=GATHER, axis=COLUMNS),
            helper.make_node("Transpose", [columns], [vectors], name=f"{GATHER}_rows", perm=(1, 2, 0)),
        ],
    )
    forget(graph, table)
    return True


def share_int8_table(model: onnx.ModelProto) -> bool:
    """Read word vectors from the head's int8 weight, each with the scale of its column; whether there is one."""
    graph = model.graph
    names = {one.name for one in graph.initializer}
    node = shared_gather(model)
    if node is None or f"{node.input[0]}_quantized" not in names:
        return False
    weight, ids, columns = node.input[0], node.input[1], node.output[0]
    integers, numbers, scales = (f"{columns}_{what}" for what in ("integers", "numbers", "scales"))
    replace_node(
        graph,
        node,
        by=[
            helper.make_node("Gather", [f"{weight}_quantized", ids], [integers], name=GATHER, axis=COLUMNS),
            helper.make_node("Cast", [integers], [numbers], name=f"{GATHER}_cast", to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [f"{weight}_scale", ids], [scales], name=f"{GATHER}_scales"),
            helper.make_node("Mul", [numbers, scales], [columns], name=f"{GATHER}_mul"),
        ],
    )
    forget(graph, weight)
    return True


def shared_gather(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that reads word vectors from the head's weight, where there is one."""
    return next((node for node in model.graph.node if node.name == GATHER), None)


def _same(graph: onnx.GraphProto, arrays: dict[str, onnx.TensorProto]) -> Iterator[tuple[onnx.NodeProto, str]]:
    tables = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in arrays]
    weights = [node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in arrays]
    for node in tables:
        table = arrays[node.input[0]]
        for weight in weights:
            if list(table.dims) == list(arrays[weight].dims)[::-1] and np.array_equal(
                numpy_helper.to_array(table).T, numpy_helper.to_array(arrays[weight])
            ):
                yield node, weight


def replace_node(graph: onnx.GraphProto, node: onnx.NodeProto, *, by: Sequence[onnx.NodeProto]) -> None:
    """Put nodes in the place of one, in a graph."""
    place = next(place for place, one in enumerate(graph.node) if one.output == node.output)
    del graph.node[place]
    for offset, one in enumerate(by):
        graph.node.insert(place + offset, one)


def forget(graph: onnx.GraphProto, name: str) -> None:
    """Drop an array from a graph where nobody reads it any more."""
    if not any(name in node.input for node in graph.node):
        graph.initializer.remove(next(one for one in graph.initializer if one.name == name))
