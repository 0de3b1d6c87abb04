"""The word vectors that a student begins with: those of its teacher, on fewer directions where it is narrower."""

import torch
from torch import nn

from kd_deploy import progress
from kd_deploy.distill.observe import word_vectors
from kd_deploy.errors import RecipeError


def reduced(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """The vectors [V, E] on their `size` principal directions: what a narrower table keeps of them."""
    if size == vectors.shape[1]:
        return vectors
    check_narrower(size, vectors.shape[1])
    centred = vectors - vectors.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred.T @ centred)
    reduced: torch.Tensor = centred @ directions[:size].T
    return reduced


def check_narrower(size: int, width: int) -> None:
    """Refuse word vectors that are wider than the teacher's, of which they are to be a projection.

    Raises:
        RecipeError: `size` is more than `width`.
    """
    if size > width:
        raise RecipeError(
            f"student.embedding_size {size} is more than the teacher's {width}",
            hint="choose a smaller one, or student.init: random",
        )


def start_words(student: nn.Module, teacher: nn.Module) -> None:
    """Give a student of other widths what it can have of the teacher's word vectors; a wider one has none."""
    table, vectors = word_vectors(student).weight, word_vectors(teacher).weight.detach()
    narrower = table.shape[1] <= vectors.shape[1]
    words = "its word vectors start from theirs, its layers" if narrower else "its word vectors and layers start"
    progress.say(f"the student's widths are not the teacher's: {words} at random")
    if narrower:
        with torch.no_grad():
            table.copy_(reduced(vectors, table.shape[1]))
