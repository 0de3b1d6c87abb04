"""A classifier reads one token of its last layer: compute that layer's products for that token alone. No torch.

The head takes the first token's vector, by a Gather over the sequence. Whatever works on each token by itself
gives the same for that token when the others are left out, so that the Gather moves up through such operators to
the last attention. The logits stay the same; of the last layer, the output projection, the feed-forward network
and both layer norms run on 1 token instead of S.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

SEQUENCE_AXIS = 1
LAST_AXIS = -1
INDEX = "first_token_index"
EACH_TOKEN_BY_ITSELF = {
    "Add", "BiasGelu", "Cast", "Div", "Erf", "FastGelu", "Gelu", "Identity", "Mul", "Relu", "SkipLayerNormalization",
    "Tanh",
}  # fmt: skip


def keep_first_token(model: onnx.ModelProto) -> int:
    """Rewrite a classifier's graph in place; how many operators now run on the first token alone.

    0 where no head reads the first token, as in a BiLSTM; the graph is then as it was.
    """
    graph = model.graph
    nodes = [copy.deepcopy(node) for node in graph.node]
    constants = _constants(graph)
    readers = {place for place, node in enumerate(nodes) if _reads_first_token(node, constants)}
    alone = _alone(nodes, constants, readers=readers, results={one.name for one in graph.output})
    if not alone:
        return 0
    index = numpy_helper.from_array(np.zeros(1, dtype=np.int64), INDEX)
    graph.initializer.append(index)
    made_inside = {name for place in alone for name in nodes[place].output}
    shortened: dict[str, str] = {}
    rewritten: list[onnx.NodeProto] = []
    for place, node in enumerate(nodes):
        if place in alone:
            rewritten += _shorten_inputs(node, shortened, made_inside | set(constants), index=index.name)
        rewritten.append(node)
    _forget_shapes(graph, made_inside)
    del graph.node[:]
    graph.node.extend(rewritten)
    return len(alone)


def of_first_token(graph: onnx.GraphProto) -> set[str]:
    """What is computed on the first token alone, by the names of the outputs."""
    found: set[str] = set()
    for node in graph.node:  # in the order in which they run
        if INDEX in node.input or not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found = {one.name: one for one in graph.initializer}
    for node in graph.node:
        value = next((one.t for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            found[node.output[0]] = value
    return found


def _reads_first_token(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gather" or node.input[0] in constants or node.input[1] not in constants:
        return False
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    index = numpy_helper.to_array(constants[node.input[1]])
    return axis == SEQUENCE_AXIS and index.ndim == 0 and int(index) == 0


def _alone(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
    *,
    readers: set[int],
    results: set[str],
) -> set[int]:
    # Last node first, so that whoever reads a node's output was decided on before the node itself.
    consumers: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        for name in node.input:
            consumers.setdefault(name, []).append(place)
    alone: set[int] = set()
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        used = [one for name in node.output for one in consumers.get(name, [])]
        private = used and results.isdisjoint(node.output) and all(one in alone | readers for one in used)
        if private and _works_on_each_token(node, constants):
            alone.add(place)
    return alone


def _works_on_each_token(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type == "MatMul":
        return node.input[1] in constants and len(constants[node.input[1]].dims) == 2  # noqa: PLR2004
    if node.op_type == "LayerNormalization":
        return next((one.i for one in node.attribute if one.name == "axis"), LAST_AXIS) == LAST_AXIS
    return node.op_type in EACH_TOKEN_BY_ITSELF


def _shorten_inputs(
    node: onnx.NodeProto, shortened: dict[str, str], fit_already: set[str], *, index: str
) -> Iterator[onnx.NodeProto]:
    for position, name in enumerate(node.input):
        if not name or name in fit_already:
            continue
        if name not in shortened:
            shortened[name] = f"{name}_first_token"
            yield helper.make_node(
                "Gather", [name, index], [shortened[name]], name=f"{shortened[name]}_gather", axis=SEQUENCE_AXIS
            )
        node.input[position] = shortened[name]


def _forget_shapes(graph: onnx.GraphProto, names: set[str]) -> None:
    kept = [one for one in graph.value_info if one.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(kept)
