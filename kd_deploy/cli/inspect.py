"""`kd-deploy inspect`: what is inside a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kd_deploy.cli.output import AsJson, Quiet, emit

if TYPE_CHECKING:
    from kd_deploy.bundle import Bundle


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")] = Path("student"),
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its hash.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show a bundle: classes, sizes, what stayed in fp32, where it comes from."""
    from kd_deploy.bundle import Bundle

    opened = Bundle.open(bundle)
    if verify:
        opened.verify()
    value = opened.manifest.model_dump(mode="json", exclude_none=True) | {"verified": verify}
    emit(value, as_json=as_json, lines=list(_lines(opened, verified=verify)))


def _lines(bundle: "Bundle", *, verified: bool) -> list[str]:
    from kd_deploy.manifest import told
    from kd_deploy.tasks.registry import TASKS, is_plain

    one = bundle.manifest
    lines = [
        f"{bundle.path}: {one.architecture} for {one.task}, {one.parameters / 1e6:.1f} M parameters",
        *(
            [f"classes ({one.problem_type.replace('_', ' ')}): {', '.join(one.labels)}"]
            if TASKS[one.task].NAMES is None
            else []
        ),
        *(
            f"task {name} ({task.problem_type.replace('_', ' ')}), output {task.output}: {', '.join(task.labels)}"
            for name, task in one.tasks.items()
        ),
        f"longest input: {one.max_length} tokens",
        f"teacher: {one.lineage.teacher or 'none'}; objective: {', '.join(one.lineage.objective) or 'none'}",
        f"made: {one.created} by kd-deploy {one.kd_deploy}",
    ]
    lines += told(one.training, plain=is_plain(TASKS[one.task]))
    lines += [f"validation {name}: {value:.4f}" for name, value in one.metrics.items()]
    for name, task in one.tasks.items():
        lines += [f"task {name}: {sentence}" for sentence in told(task.training)]
        lines += [f"task {name}, validation {metric}: {value:.4f}" for metric, value in task.metrics.items()]
    for key, graph in one.graphs.items():
        lines.append(
            f"{key}: opset {graph.opset}, IR {graph.ir_version}, {graph.parity.max_abs_error:.2g} from torch at most "
            f"({graph.parity.worst_case})"
        )
        lines += [f"  {count} {name} quantised" for name, count in graph.quantized_operators.items()]
        lines += [f"  {kept.count} {kept.operator} in fp32: {kept.why}" for kept in graph.kept_in_fp32]
        lines += [f"  tried: {step}" for step in graph.steps if key != "fp32"]
        if graph.greedy_identical is not None:
            lines.append(f"  {graph.greedy_identical:.1%} of greedy texts are those of torch")
        if graph.batch_sensitivity is not None:
            lines.append(f"  {graph.batch_sensitivity:.1%} short of agreement between answers alone and in a batch")
    lines += [f"{record.size_bytes:>12,} bytes  {name}" for name, record in one.files.items()]
    return [*lines, "every file is as it was signed" if verified else "hashes not compared; add --verify"]
