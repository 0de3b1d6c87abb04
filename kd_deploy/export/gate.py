"""The accuracy gate: quantised models on real rows, from the fastest plan to the most careful, until one passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kd_deploy import progress
from kd_deploy.errors import ExportError, GateError
from kd_deploy.export.quantize import PLANS, Quantized, quantize
from kd_deploy.export.saving import remove_graph
from kd_deploy.measurement import worth
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks.heads import MAIN
from kd_deploy.tasks.registry import main_metric, scores, task_of
from kd_deploy.tasks.task import Examples

SENSITIVITY_ROWS = 64
ROUNDING = 1e-9  # a loss of exactly the limit is one that it allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much of a task's main metric a quantised model may lose on `examples` against `reference`."""

    examples: Examples
    reference: float
    max_drop: float | None
    task: str = MAIN

    def drop(self, found: float) -> float:
        """How much worse than the reference a score is; of perplexities, in nats a token."""
        metric = main_metric(self.examples)
        return worth(metric, self.reference) - worth(metric, found)

    def allows(self, drop: float) -> bool:
        """Whether so much may be lost."""
        return self.max_drop is None or drop <= self.max_drop + ROUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The quantised graph that was taken, and the way to it; `task_drops` are what further tasks lose."""

    quantized: Quantized
    steps: tuple[str, ...]
    metric: float | None = None
    drop: float | None = None
    batch_sensitivity: float | None = None
    task_drops: Mapping[str, float] = field(default_factory=dict)


def quantize_within(
    sources: Sequence[tuple[str, Path]],
    target: Path,
    *,
    limits: Sequence[Limit],
    reduce_range: bool,
    open_predictor: Callable[[Path], Predictor],
) -> Accepted:
    """Write the first quantised form that keeps within the limit of every task.

    Args:
        sources: Names and fp32 graphs to start from, the best first (fused, then plain).
        target: The file to write.
        limits: What each task may lose, the main one first. Empty: no rows were given, the first plan is taken and
            the fact is recorded.
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
            found = _judge(target, quantized, limits=limits, open_predictor=open_predictor)
            steps.append(f"{name} graph, {plan.name}: drop {_told(found)}")
            progress.say(steps[-1])
            if all(limit.allows(drop) for limit, drop in zip(limits, _drops(found), strict=True)):
                return replace(found, steps=tuple(steps))
    remove_graph(target)
    if not limits or not judged:
        raise ExportError(f"int8: no graph could be quantised: {steps[-1]}", hint="export fp32 alone")
    sources_of_rows = ", ".join(limit.examples.source for limit in limits)
    raise GateError(
        f"int8 loses more than {limits[0].max_drop} on {sources_of_rows}, in every form tried: {'; '.join(steps)}",
        hint="allow more in export.max_accuracy_drop (--max-accuracy-drop), or export fp32 alone",
    )


def _judge(
    graph: Path, quantized: Quantized, *, limits: Sequence[Limit], open_predictor: Callable[[Path], Predictor]
) -> Accepted:
    if not limits:
        return Accepted(quantized=quantized, steps=())
    main, *further = limits
    with open_predictor(graph) as predictor:
        metric = main_metric_of(predictor, main.examples)
        sensitivity = batch_sensitivity(predictor, main.examples)
        drops = {one.task: one.drop(main_metric_of(predictor.task(one.task), one.examples)) for one in further}
    return Accepted(
        quantized=quantized,
        steps=(),
        metric=metric,
        drop=main.drop(metric),
        batch_sensitivity=sensitivity,
        task_drops=drops,
    )


def _drops(found: Accepted) -> tuple[float, ...]:
    return () if found.drop is None else (found.drop, *found.task_drops.values())


def _told(found: Accepted) -> str:
    if found.drop is None:
        return "not checked, no data given"
    return ", ".join([f"{found.drop:+.4f}", *(f"{task} {drop:+.4f}" for task, drop in found.task_drops.items())])


def main_metric_of(predictor: Predictor, examples: Examples) -> float:
    """The task's main metric of a predictor on examples."""
    quality = scores(predictor.predictions(examples), examples)
    return quality[main_metric(examples)]


def batch_sensitivity(predictor: Predictor, examples: Examples) -> float:
    """What answers to texts alone and to the same texts among others lack of full agreement, as their task counts it.

    Of classes it is the share of answers that change.

    Dynamic int8 takes its scale from the whole batch, so that batch mates can move an answer
    (onnxruntime issues 8625 and 10111). 0 for fp32.
    """
    few = range(min(SENSITIVITY_ROWS, len(examples)))
    together = predictor.predictions(examples.some(few))
    alone = [predictor.predictions(examples.some([row]))[0] for row in few]
    return 1 - task_of(examples.labels).agreement(together, alone)
