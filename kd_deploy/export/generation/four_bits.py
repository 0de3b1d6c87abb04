"""Weights of products in 4 bits, in blocks of 32 with a scale each: onnxruntime's MatMulNBits. No torch."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kd_deploy.export.generation.shared_table import forget, replace_node
from kd_deploy.export.head import head_of

BITS = 4
BLOCK = 32
MIDDLE = 2 ** (BITS - 1)  # the integer that stands for zero
INT8_PRODUCTS = 4  # accuracy level: activations in int8, block by block
DOMAIN = "com.microsoft"
MATRIX = 2  # axes


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight [K, N] in blocks: integers [N, blocks, 16] uint8, two in a byte, and scales [N, blocks]."""

    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]


def pack(weight: NDArray[np.float32]) -> Packed:
    """A weight [K, N] in 4 bits; rows that are missing from the last block count as zeros."""
    rows, columns = weight.shape
    blocks = -(-rows // BLOCK)
    padded = np.zeros((columns, blocks * BLOCK), dtype=np.float32)
    padded[:, :rows] = weight.T
    padded = padded.reshape(columns, blocks, BLOCK)
    # The largest number of a block becomes the lowest integer, which has no counterpart above zero.
    largest = np.take_along_axis(padded, np.abs(padded).argmax(axis=-1)[..., None], axis=-1)
    scales = largest / -MIDDLE  # [N, blocks, 1]
    steps = np.divide(padded, scales, out=np.zeros_like(padded), where=scales != 0)
    integers = np.clip(np.rint(steps) + MIDDLE, 0, 2 * MIDDLE - 1).astype(np.uint8)
    return Packed(integers[..., 0::2] | (integers[..., 1::2] << BITS), scales[..., 0].astype(np.float32))


def pack_products(model: onnx.ModelProto) -> int:
    """Put the weights of a graph's products in 4 bits, in place, but for the head's; how many products there were.

    The head's errors are those of the logits themselves: in 4 bits it costs more answers than all other products.
    """
    graph = model.graph
    arrays = {one.name: one for one in graph.initializer}
    head = head_of(graph)
    products = [node for node in graph.node if _has_weight(node, arrays) and node.output[0] != head]
    packed: set[str] = set()
    for node in products:
        weight = node.input[1]
        matrix = numpy_helper.to_array(arrays[weight])
        if node.op_type == "Gemm" and _attribute(node, "transB"):
            matrix = matrix.T
        if weight not in packed:
            packed.add(weight)
            _store(graph, weight, pack(matrix))
        _exchange(graph, node, matrix.shape)
    for weight in packed:
        forget(graph, weight)
    if products and DOMAIN not in {one.domain for one in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return len(products)


def _has_weight(node: onnx.NodeProto, arrays: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in arrays:
        return False
    # What torch makes of a linear map; any other Gemm stays as it is.
    plain = node.op_type == "MatMul" or not (_attribute(node, "transA") or _scaled(node))
    return plain and len(arrays[node.input[1]].dims) == MATRIX


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(one.i) for one in node.attribute if one.name == name), 0)


def _scaled(node: onnx.NodeProto) -> bool:
    return any(one.f != 1.0 for one in node.attribute if one.name in ("alpha", "beta"))


def _store(graph: onnx.GraphProto, name: str, packed: Packed) -> None:
    graph.initializer.append(numpy_helper.from_array(packed.integers, _integers(name)))
    graph.initializer.append(numpy_helper.from_array(packed.scales, _scales(name)))


def _integers(name: str) -> str:
    return f"{name}_q4"


def _scales(name: str) -> str:
    return f"{name}_q4_scales"


def _exchange(graph: onnx.GraphProto, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
    # A Gemm is a product and a sum; the bias is added by a node of its own.
    weight, result, name = node.input[1], node.output[0], node.name
    bias = node.input[2] if len(node.input) > MATRIX else ""
    product = f"{result}_product" if bias else result
    by = [
        helper.make_node(
            "MatMulNBits",
            [node.input[0], _integers(weight), _scales(weight)],
            [product],
            name=f"{name}_q4",
            domain=DOMAIN,
            K=shape[0],
            N=shape[1],
            bits=BITS,
            block_size=BLOCK,
            accuracy_level=INT8_PRODUCTS,
        )
    ]
    if bias:
        by.append(helper.make_node("Add", [product, bias], [result], name=f"{name}_bias"))
    replace_node(graph, node, by=by)
