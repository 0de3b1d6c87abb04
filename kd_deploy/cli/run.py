"""`kd-deploy run`: the whole job of a recipe."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from kd_deploy.cli.output import AsJson, Overrides, Quiet, speaking


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe.")] = Path("recipe.yaml"),
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option(help="The run's folder; left out: runs/RECIPE.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished stages again.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the recipe's JSON Schema and stop.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do a whole job: teacher, student, export, evaluation, benchmark, report. A second call resumes."""
    from kd_deploy.recipe import Recipe

    if schema:
        typer.echo(json.dumps(Recipe.model_json_schema(), indent=None if as_json else 2))
        return
    loaded = Recipe.load(recipe, overrides=tuple(overrides or ()))
    folder = output or Path("runs") / recipe.stem
    from kd_deploy.cli.report import show
    from kd_deploy.pipeline.gates import require_gates
    from kd_deploy.pipeline.run import run

    with speaking(quiet=quiet):
        ran = run(loaded, folder, fresh=fresh, command=command_line())
    show(ran.report, ran.files, as_json=as_json)
    require_gates(ran.report, ran.folder)


def command_line() -> str:
    """What the user typed, for the report."""
    return " ".join(["kd-deploy", *sys.argv[1:]])
