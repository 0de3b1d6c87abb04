"""How alike the layers of two models are on the same texts, and the layer map that follows."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kd_deploy.distill.layer_map import linear_cka
from kd_deploy.distill.observe import observe, shape_of
from kd_deploy.distill.passes import passes
from kd_deploy.errors import RecipeError
from kd_deploy.tasks.encoding import Encoder, TextInput

SAMPLE, TOKENS = 256, 8192  # texts, and tokens: CKA over some thousands of them moves in the third decimal


@torch.inference_mode()
def layer_likeness(
    student: nn.Module,
    teacher: nn.Module,
    *,
    encoders: tuple[Encoder, Encoder],
    inputs: Sequence[TextInput],
    seed: int,
) -> NDArray[np.float64]:
    """Linear CKA of every student layer with every teacher layer, [student layers, teacher layers].

    Args:
        student: As it starts.
        teacher: The model it learns from.
        encoders: The tokenizers of both, student's first; texts that they cut into other tokens are left out.
        inputs: Texts, of which a sample is taken.
        seed: Of the sample.

    Raises:
        RecipeError: No text is cut into the same tokens by both.
    """
    picked = np.random.default_rng(seed).permutation(len(inputs))[:SAMPLE]
    sample = [inputs[row] for row in sorted(picked)]
    cut = [_cut(encoder, sample) for encoder in encoders]
    alike = [(text, len(mine)) for text, mine, other in zip(sample, *cut, strict=True) if mine == other]
    if not alike:
        raise RecipeError(
            "distill.objective: layers: auto compares token by token, and no text is cut into the same tokens by the "
            "student and the teacher",
            hint="name the layers, or choose another map: uniform, last, skip or top",
        )
    so_far = accumulate(count for _, count in alike)
    texts = [text for (text, count), total in zip(alike, so_far, strict=True) if total <= max(TOKENS, count)]
    low, high = (_tokens(model, encoder, texts) for model, encoder in zip((student, teacher), encoders, strict=True))
    return np.array([[linear_cka(mine, other) for other in high] for mine in low])


def _cut(encoder: Encoder, texts: Sequence[TextInput]) -> list[list[str | None]]:
    """The tokens of each text; their ids say nothing where one vocabulary is a part of the other."""
    name_of = encoder.tokenizer.id_to_token
    return [[name_of(token) for token in one.ids] for one in encoder.encode_all(texts)]


def _tokens(model: nn.Module, encoder: Encoder, texts: Sequence[TextInput]) -> list[NDArray[np.float32]]:
    """The outputs of each layer for all tokens of all texts, [N, H] each."""
    was_training = model.training
    model.eval()
    names = [f"hidden.{layer}" for layer in range(shape_of(model).depth)]
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for _, arrays in passes(model, encoder, encoder.encode_all(texts)):
        shown, real = observe(model, arrays, names=names), arrays["attention_mask"].bool()
        for name in names:
            seen[name].append(shown[name][real].float().cpu().numpy())
    model.train(was_training)
    return [np.concatenate(seen[name]) for name in names]
