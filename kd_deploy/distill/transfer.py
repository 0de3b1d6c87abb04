"""What a student learns from besides its labels: texts without labels, texts made anew, and how much each counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from kd_deploy import progress
from kd_deploy.distill.augment import augmented
from kd_deploy.distill.neighbours import Neighbours
from kd_deploy.distill.observe import word_vectors
from kd_deploy.distill.selection import keep_confident, right_or_weight
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import BundleError, RecipeError
from kd_deploy.recipe import Augment, Distill, Samples
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.masking import mask_of
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.task import Classes, Examples


def transfer_texts(
    splits: Splits, settings: Distill, *, teacher: nn.Module, checkpoint: Path, max_length: int
) -> tuple[TextInput, ...]:
    """The texts without labels that a student learns from: those of the recipe, and those made of all others.

    Args:
        splits: The rows of the recipe.
        settings: How the student learns.
        teacher: The classifier whose word vectors say which words are near.
        checkpoint: Its folder.
        max_length: Tokens.

    Raises:
        RecipeError: Words are to be masked, and the teacher's tokenizer has no mask token.
    """
    made: list[TextInput] = []
    unlabeled = () if settings.texts == "labeled" else splits.unlabeled
    labelled = () if settings.texts == "unlabeled" else splits.train.inputs
    if settings.augment is not None and (labelled or unlabeled):
        made = _made(
            (*labelled, *unlabeled),
            settings.augment,
            teacher=teacher,
            checkpoint=checkpoint,
            max_length=max_length,
        )
        progress.say(f"augmentation: {len(made)} new texts")
    return (*unlabeled, *made)


def teacher_weights(
    logits: NDArray[np.float32],
    examples: Examples,
    settings: Samples,
    *,
    answered: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """How much the teacher counts on each row, [N], from 0 to 1.

    Args:
        logits: The teacher's, [N, C]: the rows of `examples` first, then those without labels.
        examples: The rows with labels.
        settings: The limits.
        answered: The rows [N] to which it has an answer, the only ones that count; None: all.
    """
    multi = examples.labels.is_multi
    asked = np.ones(len(logits), dtype=bool) if answered is None else answered
    weights = np.zeros(len(logits), dtype=np.float32)
    weights[asked] = keep_confident(
        logits[asked], threshold=settings.min_confidence, top_share=settings.top_share, multi=multi
    )
    known = slice(0, len(examples))
    targets = cast("Sequence[Classes]", examples.targets)
    weights[known] *= right_or_weight(logits[known], targets, wrong=settings.wrong, multi=multi)
    return weights


def mask_in(tokenizer: Tokenizer, settings: Augment, *, checkpoint: Path) -> str:
    """What words are masked by; empty where none are to be.

    Raises:
        RecipeError: The tokenizer has no mask token.
    """
    try:
        return mask_of(tokenizer) if settings.mask else ""
    except BundleError as error:
        raise RecipeError(
            f"distill.augment.mask: the tokenizer of {checkpoint} has no mask token", hint="set distill.augment.mask: 0"
        ) from error


def _made(
    inputs: tuple[TextInput, ...], settings: Augment, *, teacher: nn.Module, checkpoint: Path, max_length: int
) -> list[TextInput]:
    tokenizer = open_encoder(checkpoint, max_length=max_length).tokenizer
    mask, vocabulary = mask_in(tokenizer, settings, checkpoint=checkpoint), tokenizer.get_vocab()
    neighbours = None
    if settings.replace:
        neighbours = Neighbours.of(vocabulary, word_vectors(teacher).weight.detach().float().cpu().numpy())
    return augmented(inputs, settings, neighbours=neighbours, mask_token=mask)
