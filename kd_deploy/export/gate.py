"""The accuracy gate: quantised models on real rows, from the fastest plan to the most careful, until one passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd_deploy import progress
from kd_deploy.errors import ExportError, GateError
from kd_deploy.export.quantize import PLANS, Plan, Quantized, quantize
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks.text_classification import Examples, predicted_classes, score

SENSITIVITY_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much of the main metric a quantised model may lose on `examples` against `reference`."""

    examples: Examples
    reference: float
    max_drop: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The quantised graph that was taken, and the way to it."""

    quantized: Quantized
    steps: tuple[str, ...]
    metric: float | None
    drop: float | None
    batch_sensitivity: float | None


def quantize_within(
    sources: Sequence[tuple[str, Path]],
    target: Path,
    *,
    limit: Limit | None,
    reduce_range: bool,
    open_predictor: Callable[[Path], Predictor],
) -> Accepted:
    """Write the first quantised form that keeps within the limit.

    Args:
        sources: Names and fp32 graphs to start from, the best first (fused, then plain).
        target: The file to write.
        limit: What it may lose. None: no rows were given, the first plan is taken and the fact is recorded.
        reduce_range: Weights in 7 bits.
        open_predictor: Opens a graph for answering.

    Raises:
        GateError: No plan keeps within the limit; nothing is left at `target`.
        ExportError: onnxruntime could quantise none of the sources.
    """
    steps: list[str] = []
    judged = False
    for name, source in sources:
        for plan in PLANS:
            try:
                quantized = quantize(source, target, plan=plan, reduce_range=reduce_range)
            except ExportError as error:
                steps.append(f"{name} graph, {plan.name}: {error}")
                break
            judged = True
            found = _judge(target, quantized, plan, limit=limit, open_predictor=open_predictor)
            drop = f"{found.drop:+.4f}" if found.drop is not None else "not checked, no data given"
            steps.append(f"{name} graph, {plan.name}: drop {drop}")
            progress.say(steps[-1])
            if limit is None or limit.max_drop is None or (found.drop is not None and found.drop <= limit.max_drop):
                return Accepted(
                    quantized=quantized,
                    steps=tuple(steps),
                    metric=found.metric,
                    drop=found.drop,
                    batch_sensitivity=found.batch_sensitivity,
                )
    target.unlink(missing_ok=True)
    if limit is None or not judged:
        raise ExportError(f"int8: no graph could be quantised: {steps[-1]}", hint="export fp32 alone")
    raise GateError(
        f"int8 loses more than {limit.max_drop} on {limit.examples.source}, in every form tried: {'; '.join(steps)}",
        hint="allow more with --max-accuracy-drop, or export fp32 alone",
    )


def _judge(
    graph: Path,
    quantized: Quantized,
    plan: Plan,
    *,
    limit: Limit | None,
    open_predictor: Callable[[Path], Predictor],
) -> Accepted:
    if limit is None:
        return Accepted(quantized=quantized, steps=(plan.name,), metric=None, drop=None, batch_sensitivity=None)
    with open_predictor(graph) as predictor:
        metric = main_metric_of(predictor, limit.examples)
        sensitivity = batch_sensitivity(predictor, limit.examples)
    return Accepted(
        quantized=quantized,
        steps=(plan.name,),
        metric=metric,
        drop=limit.reference - metric,
        batch_sensitivity=sensitivity,
    )


def main_metric_of(predictor: Predictor, examples: Examples) -> float:
    """The task's main metric of a predictor on examples."""
    predictions = predicted_classes(predictor.logits(examples.inputs), examples.labels)
    quality = score(predictions, examples.targets, class_count=len(examples.labels.names))
    return quality[examples.labels.main_metric]


def batch_sensitivity(predictor: Predictor, examples: Examples) -> float:
    """The share of answers that differ between a text alone and the same text among others.

    Dynamic int8 takes its scale from the whole batch, so that batch mates can move an answer
    (onnxruntime issues 8625 and 10111). 0 for fp32.
    """
    rows = examples.inputs[:SENSITIVITY_ROWS]
    together = predictor.logits(rows)
    alone = np.concatenate([predictor.logits([one]) for one in rows])
    left, right = predicted_classes(together, examples.labels), predicted_classes(alone, examples.labels)
    return sum(a != b for a, b in zip(left, right, strict=True)) / len(rows)
