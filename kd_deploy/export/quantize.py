"""ONNX to smaller ONNX: fusion, then dynamic int8, and an account of what stayed in fp32. No torch."""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from kd_deploy.errors import ExportError
from kd_deploy.export.head import head_of
from kd_deploy.export.saving import is_in_two_files, is_large, save_graph
from kd_deploy.manifest import KeptInFp32

FUSED_FAMILIES = {"bert": "bert", "distilbert": "bert", "roberta": "bert", "xlm-roberta": "bert", "electra": "bert"}
TABLES = ("Gather", "EmbedLayerNormalization")
PRODUCTS = ("MatMul", "Gemm", "Attention", "LSTM")
SMALL = 4096  # numbers in a weight: to multiply by them takes less time than to quantise what they multiply
SMALL_HEAD = "the head is so small that int8 would take more time"
FOR_ACCURACY = "kept by the plan, for accuracy"
NO_FORM = "onnxruntime has no dynamic int8 form for it"
INTEGER_FORMS = {
    "MatMulInteger": "MatMul",
    "QAttention": "Attention",
    "DynamicQuantizeLSTM": "LSTM",
    "QEmbedLayerNormalization": "embedding tables",
    "DequantizeLinear": "embedding tables",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to quantise, from the fastest to the most careful.

    What has one of the words of `keep` in its name stays as it is, and with `keep_head` the product of the logits,
    whatever it is called.
    """

    name: str
    operators: tuple[str, ...]
    keep: tuple[str, ...] = ()
    keep_head: bool = False


# One scale a channel takes no more time than one a tensor, and follows the fp32 answers more closely: no plan has less.
PLANS = (
    Plan(name="products and embedding tables in int8", operators=PRODUCTS + TABLES),
    Plan(name="products in int8, embedding tables in fp32", operators=PRODUCTS),
    Plan(
        name="products in int8, embedding tables and the head in fp32",
        operators=PRODUCTS,
        keep=("classifier", "qa_outputs", "pooler", "head", "pre_classifier"),
        keep_head=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """What one plan did to a graph."""

    operators: dict[str, int]
    kept: tuple[KeptInFp32, ...]


def fuse(source: Path, target: Path, *, model_type: str, heads: int, width: int) -> bool:
    """Write a graph with attention, layer norms and GELU fused; False where this family has no fusion.

    Fused attention quantises as one operator; in full precision it gains nothing on a CPU, so that only the
    quantised file is made from it.
    """
    family = FUSED_FAMILIES.get(model_type)
    if family is None:
        return False
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions(family)
    # Without it the mask becomes a length, which is wrong for padding on the left.
    options.use_raw_attention_mask()
    with _quiet():
        optimized = optimize_model(
            str(source),
            model_type=family,
            num_heads=heads,
            hidden_size=width,
            opt_level=0,
            optimization_options=options,
        )
        if not optimized.get_fused_operator_statistics().get("Attention"):
            return False
        optimized.save_model_to_file(str(target), use_external_data_format=is_large(optimized.model))
    return True


def quantize(source: Path, target: Path, *, plan: Plan, reduce_range: bool) -> Quantized:
    """Write a dynamic int8 copy of a graph.

    Args:
        source: An fp32 graph, fused or not.
        target: The file to write.
        plan: What to quantise.
        reduce_range: Weights in 7 bits: without VNNI the products of full int8 saturate.

    Raises:
        ExportError: onnxruntime cannot quantise the graph.
    """
    graph = onnx.load(source, load_external_data=False).graph
    in_two = is_in_two_files(graph)
    choice = _Choice(graph, plan)
    named = [node.name for node in graph.node if choice.why_kept(node)]
    excluded = named + [f"{name}_MatMul" for name in named]  # what onnxruntime calls a Gemm that it has taken apart
    try:
        with _quiet():
            quantize_dynamic(
                str(source),
                str(target),
                op_types_to_quantize=list(plan.operators),
                per_channel=True,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                use_external_data_format=in_two,
            )
    except (ValueError, RuntimeError, TypeError) as error:
        raise ExportError(
            f"{source.name} cannot be quantised: {str(error).splitlines()[0]}", hint="export fp32 alone"
        ) from error
    made = onnx.load(target)
    found = account(made, plan)
    if in_two:  # it may fit into one file now
        save_graph(made, target)
        target.with_name(f"{target.name}.data").unlink()
    return found


def account(graph: onnx.ModelProto, plan: Plan) -> Quantized:
    """Count the operators that run in int8, and name those that could have and did not."""
    counts = Counter(node.op_type for node in graph.graph.node)
    done: Counter[str] = Counter()
    for operator, stands_for in INTEGER_FORMS.items():
        done[stands_for] += counts.get(operator, 0)
    weights = {one.name for one in graph.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    choice = _Choice(graph.graph, plan)
    kept: Counter[tuple[str, str]] = Counter()
    for node in graph.graph.node:
        if node.op_type in PRODUCTS:
            kept[node.op_type, choice.why_kept(node) or _why_left(node, weights)] += 1
        elif node.op_type in TABLES and node.input[0 if node.op_type == "Gather" else 2] in weights:
            planned = node.op_type in plan.operators
            kept[node.op_type, NO_FORM if planned else f"embedding table {FOR_ACCURACY}"] += 1
    return Quantized(
        operators={name: count for name, count in done.items() if count},
        kept=tuple(KeptInFp32(operator=op, count=count, why=why) for (op, why), count in sorted(kept.items())),
    )


class _Choice:
    """What of a graph a plan keeps in fp32, and why."""

    def __init__(self, graph: onnx.GraphProto, plan: Plan) -> None:
        self._plan = plan
        self._head = head_of(graph)
        self._small = {one.name for one in graph.initializer if len(one.dims) > 1 and math.prod(one.dims) <= SMALL}

    def why_kept(self, node: onnx.NodeProto) -> str:
        """The reason; empty for what is to be quantised."""
        is_head = bool(self._head) and self._head in node.output
        if is_head and self._small & set(node.input):
            return SMALL_HEAD
        named = any(word in node.name for word in self._plan.keep)
        return FOR_ACCURACY if named or (self._plan.keep_head and is_head) else ""


def _why_left(node: onnx.NodeProto, weights: set[str]) -> str:
    if not any(name in weights for name in node.input):
        return "a product of two activations: there is no weight to quantise"
    return NO_FORM


@contextmanager
def _quiet() -> Iterator[None]:
    # onnxruntime's tools advise on the root logger, about steps that were taken already.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
