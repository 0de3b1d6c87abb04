"""`kd-deploy finetune`: a teacher from any encoder checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from kd_deploy.cli.output import AsJson, Overrides, Quiet, speaking


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe; its sections data and teacher are read.")] = Path(
        "recipe.yaml"
    ),
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Where the teacher goes.")] = Path("teacher"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the recipe's teacher on its data, and write it as a bundle."""
    from kd_deploy.cli.trained import show_trained
    from kd_deploy.recipe import Recipe

    loaded = Recipe.load(recipe, overrides=tuple(overrides or ()))
    from kd_deploy.pipeline.train import finetune

    with speaking(quiet=quiet):
        bundle = finetune(loaded, output)
    show_trained(bundle, as_json=as_json)
