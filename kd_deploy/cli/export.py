"""`kd-deploy export`: ONNX files, checked against the model they came from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kd_deploy.cli.output import AsJson, Columns, Quiet, columns_of, emit, speaking, table
from kd_deploy.errors import BundleError, UsageError

if TYPE_CHECKING:
    from kd_deploy.bundle import Bundle

DEFAULT = "student"
PRECISIONS = ("fp32", "int8", "int4")
BACKENDS = ("torch", "optimum")


def command(
    bundle: Annotated[str, typer.Argument(help="A bundle, a checkpoint folder or a hub id.")] = DEFAULT,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write onnx/model.onnx (fp32).")] = True,
    quantize: Annotated[bool, typer.Option("--quantize", help="Write onnx/model_quantized.onnx (int8).")] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, int8, or int4 for models that write; repeatable, instead of the flags."),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Largest loss of the main metric through int8; needs --data.", min=0, max=1)
    ] = None,
    data: Annotated[str | None, typer.Option(help="Rows with labels, to measure what int8 costs.")] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset.", min=14, max=18)] = 17,
    backend: Annotated[str, typer.Option(help=f"One of: {', '.join(BACKENDS)}.")] = "torch",
    output: Annotated[Path | None, typer.Option(help="Write the bundle here instead of in place.")] = None,
    columns: Columns = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into ONNX files that run without torch; in place, files of other precisions stay."""
    precisions = _precisions(onnx, quantize, precision)
    if backend not in BACKENDS:
        raise UsageError(f"there is no backend {backend!r}", hint=f"choose one of: {', '.join(BACKENDS)}")
    if max_accuracy_drop is not None and data is None:
        raise UsageError("--max-accuracy-drop has no rows to measure on", hint="add --data FILE")
    if max_accuracy_drop is not None and precisions == ["fp32"]:
        raise UsageError("--max-accuracy-drop limits what int8 costs, and none is written", hint="add --quantize")
    if bundle == DEFAULT and not Path(bundle).exists():
        raise BundleError(f"there is no bundle ./{bundle}", hint="kd-deploy distill writes it; or name another one")
    from kd_deploy.pipeline.export import export_model
    from kd_deploy.pipeline.rows import rows_for

    with speaking(quiet=quiet):
        made = export_model(
            bundle,
            output,
            precisions=precisions,
            opset=opset,
            backend="optimum" if backend == "optimum" else "torch",
            max_accuracy_drop=max_accuracy_drop,
            examples=rows_for(bundle, data, columns=columns_of(columns)) if data else None,
        )
    show(made, as_json=as_json)


def show(made: "Bundle", *, as_json: bool) -> None:
    """The graphs of a bundle: size, distance from torch, what int8 cost."""
    graphs = made.manifest.graphs
    if as_json:
        emit(
            {"path": str(made.path), "graphs": {key: one.model_dump(mode="json") for key, one in graphs.items()}},
            as_json=True,
        )
        return
    rows = [
        (
            f"{made.path.name}:{key}",
            f"{made.size_bytes(key) / 1e6:.1f}",
            f"{one.parity.max_abs_error:.2g}",
            "-" if one.metric_drop is None else f"{one.metric_drop:+.4f}",
            ", ".join(f"{count} {name}" for name, count in one.quantized_operators.items()) or "-",
        )
        for key, one in graphs.items()
    ]
    table(("graph", "MB with tokenizer", "max error against torch", "accuracy lost", "quantised"), rows)
    typer.echo(str(made.path))


def _precisions(onnx: bool, quantize: bool, precision: list[str] | None) -> list[str]:
    if precision:
        strange = [one for one in precision if one not in PRECISIONS]
        if strange:
            raise UsageError(f"there is no precision {strange[0]!r}", hint=f"choose of: {', '.join(PRECISIONS)}")
        return [one for one in PRECISIONS if one in precision]
    chosen = [name for name, wanted in (("fp32", onnx), ("int8", quantize)) if wanted]
    if not chosen:
        raise UsageError("nothing to export", hint="add --onnx, --quantize, or both")
    return chosen
