"""How many heads attention has, written out where the exporter leaves it to be found from the data. No torch.

A reshape to [batch, length, -1, width] cannot say what -1 is for an array of no rows, and such arrays are what a
decoder makes of a source whose keys and values it knows already.
"""

import onnx
from onnx import helper, numpy_helper

SPLIT = 4  # axes of an array whose heads are apart
HEADS = 2  # the axis of the heads


def name_heads(model: onnx.ModelProto) -> int:
    """Write the number of heads into every reshape of a product's result; how many there were."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    arrays = {one.name: one for one in graph.initializer}
    done: set[str] = set()
    for node in graph.node:
        shape = makers.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Concat" or len(shape.input) != SPLIT or node.input[1] in done:
            continue
        open_heads, each = (_constant(makers.get(name)) for name in shape.input[HEADS:])
        width = _product_width(node.input[0], makers, arrays)
        if open_heads == -1 and each and width:
            name = f"{node.input[1]}_heads"
            graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [1], [width // each]))
            shape.input[HEADS] = name
            done.add(node.input[1])
    return len(done)


def _constant(node: onnx.NodeProto | None) -> int | None:
    if node is None or node.op_type != "Constant":
        return None
    value = numpy_helper.to_array(node.attribute[0].t)
    return int(value.item()) if value.size == 1 else None


def _product_width(name: str, makers: dict[str, onnx.NodeProto], arrays: dict[str, onnx.TensorProto]) -> int | None:
    # Of a product with a weight, with or without a bias.
    node = makers.get(name)
    if node is not None and node.op_type == "Add":
        node = next((makers[one] for one in node.input if one in makers and makers[one].op_type == "MatMul"), None)
    if node is None or node.op_type != "MatMul" or node.input[1] not in arrays:
        return None
    return int(arrays[node.input[1]].dims[-1])
