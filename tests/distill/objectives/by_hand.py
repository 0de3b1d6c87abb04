"""Logits to try losses on, and the same distributions in numpy, in double precision."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def logits(seed: int, *, rows: int = 6, classes: int = 4) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def softmax(values: Tensor, *, temperature: float = 1.0) -> Array:
    raised = np.exp(values.double().numpy() / temperature)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def bernoulli(values: Tensor, *, temperature: float = 1.0) -> Array:
    yes = 1 / (1 + np.exp(-values.double().numpy() / temperature))
    return np.stack([yes, 1 - yes], axis=-1)


def summed(values: Array) -> Array:
    return np.asarray(values.reshape(len(values), -1).sum(axis=1))


def kl(p: Array, q: Array) -> Array:
    return summed(p * np.log(p / q))
