"""What is said of a teacher that is worth no more than a guess."""

from collections.abc import Sequence

from kd_deploy import progress
from kd_deploy.tasks.scoring import commonest_share
from kd_deploy.tasks.task import Target


def tell_of_a_guesser(accuracy: float, targets: Sequence[Target], *, rows: str, check: str = "") -> None:
    """Say so where a teacher of one class a text is right no more often than who always says the commonest.

    Args:
        accuracy: Of the teacher, 0 to 1.
        targets: What is right.
        rows: Whose accuracy it is.
        check: The key of the recipe that may be wrong, if there is one.
    """
    guess = commonest_share(targets)
    if accuracy <= guess:
        progress.say(
            f"the teacher's {rows} accuracy {accuracy:.4f} is no better than always saying the commonest class "
            f"({guess:.4f}): a student has nothing to learn from it{f'; check {check}' if check else ''}"
        )
