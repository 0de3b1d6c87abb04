"""The word vectors that a student begins with: those of its teacher, on fewer directions where it is narrower."""

import torch
from torch import nn

from kd_deploy.distill.observe import word_vectors
from kd_deploy.errors import RecipeError


def reduced(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """The vectors [V, E] on their `size` principal directions: what a narrower table keeps of them."""
    if size == vectors.shape[1]:
        return vectors
    if size > vectors.shape[1]:
        raise RecipeError(
            f"student.embedding_size {size} is more than the teacher's {vectors.shape[1]}",
            hint="choose a smaller one, or student.init: random",
        )
    centred = vectors - vectors.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred.T @ centred)
    reduced: torch.Tensor = centred @ directions[:size].T
    return reduced


def start_words(student: nn.Module, teacher: nn.Module) -> None:
    """Give a student of other widths what it can have of the teacher's word vectors."""
    table, vectors = word_vectors(student).weight, word_vectors(teacher).weight.detach()
    if table.shape[1] <= vectors.shape[1]:
        with torch.no_grad():
            table.copy_(reduced(vectors, table.shape[1]))
