"""Only masks are filled: compute a masked language model's vocabulary for the mask tokens alone. No torch.

The product with the vocabulary is more than half of the work of a small model, and it is asked for at one token in
seven. The masks of a batch, wherever they stand, become one row of n tokens, [1, n, H], from the last attention on;
their logits are then put where they belong in [B, S, V]. At tokens that are no masks the logits are 0.
"""

import copy
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kd_deploy.export.head import LOGITS
from kd_deploy.export.kept_tokens import KEPT, keep_tokens

IDS = "input_ids"
OF_MASKS = "logits_of_masks"
MASK, FIRST_AXIS, VOCABULARY_AXIS = "mask_id", "masks_first_axis", "masks_vocabulary_axis"


def keep_masked_tokens(model: onnx.ModelProto, *, mask_id: int) -> int:
    """Rewrite a graph with inputs [B, S] and the output `logits` [B, S, V] in place.

    Args:
        model: The graph.
        mask_id: The number of the mask token.

    Returns:
        How many operators now run on masks alone. 0 where the head mixes tokens; the graph is then as it was.
    """
    graph = model.graph
    before = [copy.deepcopy(node) for node in graph.node]
    for node in graph.node:
        node.output[:] = [OF_MASKS if name == LOGITS else name for name in node.output]
    placing = _placing()
    nodes = [*_finding(), *graph.node, *placing]
    _replace(graph, nodes)
    readers = {place for place, node in enumerate(nodes) if OF_MASKS in node.input}
    moved = keep_tokens(model, readers=readers, choose=_masks)
    if not moved:
        _replace(graph, before)
        return 0
    for name, value in ((MASK, mask_id), (FIRST_AXIS, [0]), (VOCABULARY_AXIS, [2])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
    return moved


def _finding() -> list[onnx.NodeProto]:
    """Where masks stand, by row and column: [1, n, 2]."""
    return [
        helper.make_node("Equal", [IDS, MASK], ["is_mask"], name="is_mask"),
        helper.make_node("NonZero", ["is_mask"], ["masks_by_axis"], name="masks_by_axis"),
        helper.make_node("Transpose", ["masks_by_axis"], ["masks"], name="masks", perm=[1, 0]),
        helper.make_node("Unsqueeze", ["masks", FIRST_AXIS], [KEPT], name=KEPT),
    ]


def _placing() -> list[onnx.NodeProto]:
    """The logits of the masks, [1, n, V], put among zeros."""
    return [
        helper.make_node("Shape", [IDS], ["shape_of_ids"], name="shape_of_ids"),
        helper.make_node("Shape", [OF_MASKS], ["shape_of_masks"], name="shape_of_masks"),
        helper.make_node("Gather", ["shape_of_masks", VOCABULARY_AXIS], ["vocabulary_size"], name="vocabulary_size"),
        helper.make_node(
            "Concat", ["shape_of_ids", "vocabulary_size"], ["shape_of_logits"], name="shape_of_logits", axis=0
        ),
        helper.make_node("ConstantOfShape", ["shape_of_logits"], ["no_logits"], name="no_logits"),
        helper.make_node("ScatterND", ["no_logits", KEPT, OF_MASKS], [LOGITS], name="logits_in_place"),
    ]


def _masks(name: str, shortened: str) -> onnx.NodeProto:
    return helper.make_node("GatherND", [name, KEPT], [shortened], name=f"{shortened}_gather")


def _replace(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    copies = [copy.deepcopy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
