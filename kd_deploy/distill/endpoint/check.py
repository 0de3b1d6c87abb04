"""What of a teacher on a server can be known to fail before it is asked."""

from kd_deploy.distill.endpoint.chat import LETTERS
from kd_deploy.distill.endpoint.http import token_of
from kd_deploy.errors import RecipeError
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.tasks.task import LabelSpace


def check_endpoint(settings: Endpoint, labels: LabelSpace | None) -> None:
    """Refuse a way of asking that cannot tell the classes apart.

    Args:
        settings: The section of the recipe.
        labels: The classes; None where they are not known yet.

    Raises:
        RecipeError: Too many classes, other ones, or several a text.
        TrainingError: The variable that is to hold the token does not.
    """
    token_of(settings.api_key_env)
    if labels is None:
        return
    if settings.protocol == "openai" and len(labels.names) > len(LETTERS):
        raise RecipeError(
            f"teacher.endpoint.protocol: a chat model answers with one of {len(LETTERS)} letters at most, and there "
            f"are {len(labels.names)} labels",
            hint="serve a classifier and set teacher.endpoint.protocol: oip",
        )
    of_one = {
        "protocol: openai": settings.protocol == "openai",
        "scores: probabilities": settings.scores == "probabilities",
        "top_k": settings.top_k is not None,
        "decimals": settings.decimals is not None,
    }
    asked = [name for name, given in of_one.items() if given]
    if labels.is_multi and asked:
        raise RecipeError(
            f"teacher.endpoint: {asked[0]} is for one class a text, and these texts have several",
            hint="use protocol: oip with logits, and keep them whole",
        )
    if settings.labels and sorted(settings.labels) != sorted(labels.names):
        raise RecipeError(
            f"teacher.endpoint.labels: {', '.join(settings.labels)}, and the data has {', '.join(labels.names)}",
            hint="name the classes of the data, in the order of the server's scores",
        )
