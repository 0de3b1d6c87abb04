"""A classifier reads one token of its last layer: compute that layer's products for that token alone. No torch.

The head takes the first token's vector, by a Gather over the sequence, which moves up. The logits stay the same.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kd_deploy.export.kept_tokens import KEPT, SEQUENCE_AXIS, constants, keep_tokens


def keep_first_token(model: onnx.ModelProto) -> int:
    """Rewrite a classifier's graph in place; how many operators now run on the first token alone.

    0 where no head reads the first token, as in a BiLSTM; the graph is then as it was.
    """
    graph = model.graph
    fixed = constants(graph)
    readers = {place for place, node in enumerate(graph.node) if _reads_first_token(node, fixed)}
    moved = keep_tokens(model, readers=readers, choose=_first)
    if moved:
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, dtype=np.int64), KEPT))
    return moved


def _reads_first_token(node: onnx.NodeProto, fixed: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gather" or node.input[0] in fixed or node.input[1] not in fixed:
        return False
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    index = numpy_helper.to_array(fixed[node.input[1]])
    return axis == SEQUENCE_AXIS and index.ndim == 0 and int(index) == 0


def _first(name: str, shortened: str) -> onnx.NodeProto:
    return helper.make_node("Gather", [name, KEPT], [shortened], name=f"{shortened}_gather", axis=SEQUENCE_AXIS)
