"""Smaller graphs of models that write: int8, with one copy of a shared table; and int4 weights. No torch."""

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx

from kd_deploy.export.generation.four_bits import pack_products
from kd_deploy.export.generation.shared_table import GATHER, share_int8_table
from kd_deploy.export.quantize import PLANS, Plan, Quantized, quantize
from kd_deploy.export.saving import save_graph


def to_int8(source: Path, target: Path, *, plan: Plan = PLANS[0], reduce_range: bool) -> Quantized:
    """Write a dynamic int8 copy of a graph; a table that the head shares is there once, in int8.

    Args:
        source: A graph in fp32, as `export_written` wrote it.
        target: The file to write.
        plan: What to quantise.
        reduce_range: Weights in 7 bits: without VNNI the products of full int8 saturate.

    Raises:
        ExportError: onnxruntime cannot quantise the graph.
    """
    # Left alone here: as any other table it would be stored a second time, with one scale for all tokens.
    found = quantize(source, target, plan=replace(plan, keep=(*plan.keep, GATHER)), reduce_range=reduce_range)
    graph = onnx.load(target)
    if "Gather" not in plan.operators or not share_int8_table(graph):
        return found
    save_graph(graph, target)
    # Of all tables, the shared one alone was left in fp32 before.
    kept = tuple(one for one in found.kept if one.operator != "Gather")
    return Quantized(operators=_sum(found.operators, {"embedding tables": 1}), kept=kept)


def to_int4(source: Path, target: Path, *, reduce_range: bool) -> Quantized:
    """Write a copy of a graph with the weights of its products in 4 bits; the head, tables and LSTMs are in int8.

    Args:
        source: A graph in fp32, as `export_written` wrote it.
        target: The file to write.
        reduce_range: Weights that are in int8 in 7 bits.

    Raises:
        ExportError: onnxruntime cannot quantise the graph.
    """
    graph = onnx.load(source)
    products = pack_products(graph)
    with tempfile.TemporaryDirectory(prefix="kd-deploy-") as aside:
        packed = Path(aside) / source.name
        save_graph(graph, packed)
        found = to_int8(packed, target, reduce_range=reduce_range)
    return replace(found, operators=_sum(found.operators, {"MatMul in int4": products}))


def _sum(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return dict(Counter(left) + Counter(right))
