"""Compute the end of a graph for those tokens alone that its answer is read from. No torch.

Whatever works on each token by itself gives the same for a token when the others are left out, so that a choice of
tokens made at the end of a graph may move up through such operators, to the last attention. The answers stay the
same; of the last layer, the output projection, the feed-forward network and both layer norms run on the chosen alone.
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import onnx

SEQUENCE_AXIS = 1
LAST_AXIS = -1
KEPT = "kept_tokens"  # which: an initializer or what an operator gives
EACH_TOKEN_BY_ITSELF = {
    "Add", "BiasGelu", "Cast", "Div", "Erf", "FastGelu", "Gelu", "Identity", "Mul", "Relu", "SkipLayerNormalization",
    "Tanh",
}  # fmt: skip
Choose = Callable[[str, str], onnx.NodeProto]


def keep_tokens(model: onnx.ModelProto, *, readers: set[int], choose: Choose) -> int:
    """Rewrite a graph in place; how many operators now run on the chosen tokens alone.

    Args:
        model: The graph.
        readers: The places of the operators that need no other token than the chosen ones.
        choose: Given the name of an array [B, S, H] and a new one, the operator that makes it of the chosen tokens,
            with three axes as before. It names `KEPT` among its inputs.
    """
    graph = model.graph
    nodes = [copy.deepcopy(node) for node in graph.node]
    fixed = constants(graph)
    alone = _alone(nodes, fixed, readers=readers, results={one.name for one in graph.output})
    if not alone:
        return 0
    made_inside = {name for place in alone for name in nodes[place].output}
    shortened: dict[str, str] = {}
    rewritten: list[onnx.NodeProto] = []
    for place, node in enumerate(nodes):
        if place in alone:
            rewritten += _shorten_inputs(node, shortened, made_inside | set(fixed), choose=choose)
        rewritten.append(node)
    _forget_shapes(graph, made_inside)
    del graph.node[:]
    graph.node.extend(rewritten)
    return len(alone)


def of_kept_tokens(graph: onnx.GraphProto) -> set[str]:
    """What is computed on chosen tokens alone, by the names of the outputs."""
    found: set[str] = set()
    for node in graph.node:  # in the order in which they run
        if KEPT in node.input or not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The arrays of a graph that no input changes, by name."""
    found = {one.name: one for one in graph.initializer}
    for node in graph.node:
        value = next((one.t for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            found[node.output[0]] = value
    return found


def _alone(
    nodes: Sequence[onnx.NodeProto],
    fixed: dict[str, onnx.TensorProto],
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
        if private and _works_on_each_token(node, fixed):
            alone.add(place)
    return alone


def _works_on_each_token(node: onnx.NodeProto, fixed: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type == "MatMul":
        return node.input[1] in fixed and len(fixed[node.input[1]].dims) == 2  # noqa: PLR2004
    if node.op_type == "LayerNormalization":
        return next((one.i for one in node.attribute if one.name == "axis"), LAST_AXIS) == LAST_AXIS
    return node.op_type in EACH_TOKEN_BY_ITSELF


def _shorten_inputs(
    node: onnx.NodeProto, shortened: dict[str, str], fit_already: set[str], *, choose: Choose
) -> Iterator[onnx.NodeProto]:
    for position, name in enumerate(node.input):
        if not name or name in fit_already:
            continue
        if name not in shortened:
            shortened[name] = f"{name}_{KEPT}"
            yield choose(name, shortened[name])
        node.input[position] = shortened[name]


def _forget_shapes(graph: onnx.GraphProto, names: set[str]) -> None:
    kept = [one for one in graph.value_info if one.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(kept)
