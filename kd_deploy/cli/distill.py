"""`kd-deploy distill`: a student bundle from a teacher."""

from pathlib import Path
from typing import Annotated

import typer

from kd_deploy.cli.output import AsJson, Overrides, Quiet, speaking
from kd_deploy.files import is_main_process


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe.")] = Path("recipe.yaml"),
    overrides: Overrides = None,
    teacher: Annotated[
        str | None, typer.Option(help="Instead of the recipe's teacher: a checkpoint, bundle or hub id, used as it is.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the student goes.")] = Path("student"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the recipe's student on its teacher, and write it as a bundle."""
    from kd_deploy.cli.trained import show_trained
    from kd_deploy.recipe import Recipe

    loaded = Recipe.load(recipe, overrides=tuple(overrides or ()))
    from kd_deploy.pipeline.train import distill

    with speaking(quiet=quiet):
        bundle = distill(loaded, output, teacher=teacher)
    show_trained(bundle, as_json=as_json)
    if not as_json and not quiet and is_main_process():
        typer.echo(f"next: kd-deploy export {bundle.path} --onnx --quantize", err=True)
