"""The rows of a recipe's further tasks, read and held against those of the main task."""

from kd_deploy.distill.check import teacher_labels
from kd_deploy.errors import DataError
from kd_deploy.recipe import Recipe
from kd_deploy.tasks.heads import speaking_of
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import Splits, read_splits


def read_further(recipe: Recipe, main: Splits) -> dict[str, Splits]:
    """The rows of all further tasks, by name.

    Args:
        recipe: With its tasks.
        main: The rows of the main task.

    Raises:
        RecipeError: A task without training data, or whose teacher is no classifier.
        DataError: Anything wrong in a file; or single texts in one task and pairs in another.
    """
    further = {}
    for name in recipe.tasks:
        with speaking_of(name):
            alone = recipe.of_task(name)
            splits = read_splits(
                alone.data, task=TASKS[recipe.task], teacher=teacher_labels(recipe.tasks[name].teacher, recipe.task)
            )
            _require_same_form(splits, main)
        further[name] = splits
    return further


def _require_same_form(splits: Splits, main: Splits) -> None:
    forms = {True: "single texts", False: "pairs of texts"}
    own, wanted = (isinstance(one.train.inputs[0], str) for one in (splits, main))
    if own != wanted:
        raise DataError(
            f"{splits.train.source} has {forms[own]}, {main.train.source} has {forms[wanted]}",
            hint="all tasks of a student read the same: single texts, or pairs",
        )
