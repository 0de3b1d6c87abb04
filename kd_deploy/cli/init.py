"""`kd-deploy init`: a commented starter recipe."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from kd_deploy.cli.output import AsJson, Quiet, emit
from kd_deploy.errors import UsageError
from kd_deploy.files import write_text

USUAL = "text-classification"
STARTERS = files("kd_deploy.cli").joinpath("starters")
TASKS = tuple(sorted(path.name.removesuffix(".yaml") for path in STARTERS.iterdir()))


def command(
    recipe: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("recipe.yaml"),
    task: Annotated[str, typer.Option(help=f"One of: {', '.join(TASKS)}.")] = USUAL,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented starter recipe to fill in."""
    if task not in TASKS:
        raise UsageError(f"there is no task {task!r}", hint=f"choose one of: {', '.join(TASKS)}")
    if recipe.exists() and not force:
        raise UsageError(f"{recipe} is there already", hint="name another file, or add --force")
    write_text(recipe, STARTERS.joinpath(f"{task}.yaml").read_text(encoding="utf-8"))
    if quiet and not as_json:
        return
    emit(
        {"recipe": str(recipe)},
        as_json=as_json,
        lines=[f"{recipe}", f"next: fill in data and teacher, then kd-deploy run {recipe}"],
    )
