"""A head that can be asked for the logits of the last tokens alone: of a prompt nobody reads any others. No torch.

A vocabulary of 50,000 entries makes as much work of the head as six layers are, and a prompt of a thousand tokens
200 MB of logits.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kd_deploy.bundle import LAST_LOGITS
from kd_deploy.export.generation.shared_table import replace_node
from kd_deploy.export.head import head_of

TOKENS = 1  # the axis of the tokens
END = np.iinfo(np.int64).max


def offer_last(model: onnx.ModelProto) -> bool:
    """Give a graph an input for how many of the last tokens are to have logits; whether its head could be found.

    The input has a default, 0: all tokens. Who does not know of it leaves it out, and it is none of the inputs that
    a session lists.
    """
    graph = model.graph
    head = _head(graph)
    if head is None:
        return False
    start, kept = f"{LAST_LOGITS}_start", f"{head.input[0]}_kept"
    constants = {f"{LAST_LOGITS}_shape": [1], f"{LAST_LOGITS}_end": [END], f"{LAST_LOGITS}_axis": [TOKENS]}
    shape, end, axis = constants
    nodes = [
        helper.make_node("Neg", [LAST_LOGITS], [f"{start}_scalar"], name=f"{start}_neg"),
        helper.make_node("Reshape", [f"{start}_scalar", shape], [start], name=start),
        helper.make_node("Slice", [head.input[0], start, end, axis], [kept], name=LAST_LOGITS),
    ]
    head.input[0] = kept
    replace_node(graph, head, by=[*nodes, head])
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in constants.items()
    )
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), LAST_LOGITS))
    graph.input.append(helper.make_tensor_value_info(LAST_LOGITS, onnx.TensorProto.INT64, []))
    return True


def _head(graph: onnx.GraphProto) -> onnx.NodeProto | None:
    """The product with a weight that the logits come from."""
    arrays, made = {one.name for one in graph.initializer}, head_of(graph)
    node = next((one for one in graph.node if made in one.output), None)
    known = node is not None and node.op_type == "MatMul" and node.input[1] in arrays
    return node if known else None
