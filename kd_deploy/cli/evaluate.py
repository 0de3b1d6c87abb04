"""`kd-deploy evaluate`: what a model's answers are worth."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from kd_deploy.cli.output import AsJson, Columns, Quiet, TaskName, columns_of, emit, speaking, table


def command(
    model: Annotated[str, typer.Argument(help="BUNDLE, BUNDLE:fp32, a checkpoint, a hub id or an .onnx file.")],
    data: Annotated[str, typer.Option(help="Rows with labels.")],
    against: Annotated[
        str | None, typer.Option(help="Also judge this teacher, and count how often both agree.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write every answer to this JSON file too.")] = None,
    task: TaskName = "main",
    columns: Columns = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model's quality on rows with labels, and its agreement with a teacher."""
    from kd_deploy import measurement_store
    from kd_deploy.files import require_file_place
    from kd_deploy.pipeline.evaluate import evaluate
    from kd_deploy.pipeline.rows import rows_for
    from kd_deploy.pipeline.targets import on_task, resolve

    if output:
        require_file_place(output)
    targets = [on_task(resolve(against, role="teacher"), task)] if against else []
    targets.append(replace(resolve(model), task=task))
    if against and targets[0].name.name == targets[1].name.name:  # then they go by what was typed
        names = (against, model)
        targets = [replace(one, name=replace(one.name, name=name)) for one, name in zip(targets, names, strict=True)]
    with speaking(quiet=quiet):
        rows_given = rows_for(model, data, columns=columns_of(columns), task=task)
        evaluation = evaluate(targets, rows_given, split="given", name=data)
    if output:
        measurement_store.save(output, evaluation)
    if as_json:
        values = [
            {"name": one.target.name, "quality": one.quality, "agreement": one.agreement} for one in evaluation.targets
        ]
        emit({"data": asdict(evaluation.data), "main_metric": evaluation.main_metric, "targets": values}, as_json=True)
        return
    metrics = list(evaluation.targets[0].quality)
    rows = [
        (
            one.target.name,
            *("-" if value is None else f"{value:.4f}" for value in (*map(one.quality.get, metrics), one.agreement)),
        )
        for one in evaluation.targets
    ]
    table(("model", *metrics, "agreement with teacher"), rows)
    typer.echo(f"{evaluation.data.n} rows of {data}")
