"""`kd-deploy report`: the teacher-against-student report of runs and benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kd_deploy.cli.output import AsJson, Quiet, table
from kd_deploy.errors import UsageError

if TYPE_CHECKING:
    from kd_deploy.report.model import Report

FORMATS: tuple[Literal["html", "md", "json"], ...] = ("html", "md", "json")


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of kd-deploy run, or files of kd-deploy benchmark.")],
    baseline: Annotated[Path | None, typer.Option(help="An earlier report.json, to show what changed since.")] = None,
    output: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("report"),
    formats: Annotated[str, typer.Option(help="Of html, md and json, separated by commas.")] = "html,md,json",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write one report on runs and benchmarks: html, markdown and json."""
    asked = [one.strip() for one in formats.split(",")]
    strange = [one for one in asked if one not in FORMATS]
    if strange:
        raise UsageError(f"there is no format {strange[0]!r}", hint=f"choose of: {', '.join(FORMATS)}")
    from kd_deploy.pipeline.gates import require_gates
    from kd_deploy.pipeline.report import report_on
    from kd_deploy.report.baseline import against_baseline
    from kd_deploy.report.document import REPORT_FILE, load_report, report_file
    from kd_deploy.report.render import write_report

    chosen = [one for one in FORMATS if one in asked]
    if output.is_dir() and any(output.iterdir()) and not any(output.glob("report.*")):
        raise UsageError(f"{output} holds files and no report", hint="choose an empty folder or a new name")
    earlier = report_file(baseline) if baseline else None
    if earlier and "json" in chosen and earlier.resolve() == (output / REPORT_FILE).resolve():
        raise UsageError(f"the report would replace its baseline, {earlier}", hint="choose another --output")
    made = report_on(runs)
    if earlier:
        made = against_baseline(made, load_report(earlier))
    read = [*(run / REPORT_FILE for run in runs), *((earlier,) if earlier else ())]
    show(made, write_report(made, output, formats=chosen, keep=read), as_json=as_json)
    require_gates(made, output)


def show(report: "Report", files: Sequence[Path], *, as_json: bool) -> None:
    """The summary of a report, its verdict, and where it is."""
    from kd_deploy.report.document import to_json
    from kd_deploy.report.headline import headline_text
    from kd_deploy.report.tables import gates_table, summary_table
    from kd_deploy.report.task_table import tasks_table

    if as_json:
        typer.echo(to_json(report).replace("\n", ""))
        return
    for grid in (summary_table(report), tasks_table(report), gates_table(report)):
        if grid.rows:
            table(grid.columns, [[cell.text for cell in row] for row in grid.rows])
            typer.echo("")
    typer.echo(headline_text(report))
    for path in files:
        typer.echo(str(path))
