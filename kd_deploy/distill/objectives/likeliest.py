"""Distributions over a vocabulary in few numbers: the likeliest entries, and the mass of all others together."""

import torch
from torch import Tensor

LEAST = 1e-6  # mass of the rest: below it a logarithm of what float32 leaves of 1 says nothing


def likeliest(logits: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """The likeliest entries of each distribution.

    Args:
        logits: [N, V], float32.
        count: Entries to keep, k, below V.

    Returns:
        Log-probabilities [N, k + 1], in nats, the last that of all other entries together; and the k entries
        [N, k], likeliest first.
    """
    values, entries = logits.topk(count, dim=-1)
    shares = values - logits.logsumexp(dim=-1, keepdim=True)  # [N, k]
    return torch.cat([shares, _rest(shares)], dim=-1), entries


def among(logits: Tensor, entries: Tensor) -> Tensor:
    """The distributions of logits [N, V] as those of `likeliest` are, for entries [N, k] that were chosen before.

    Returns:
        Log-probabilities [N, k + 1], float32; their softmax is the distribution itself.
    """
    wide = logits.float()
    shares = wide.gather(-1, entries.long()) - wide.logsumexp(dim=-1, keepdim=True)  # [N, k]
    return torch.cat([shares, _rest(shares)], dim=-1)


def _rest(shares: Tensor) -> Tensor:
    # log(1 - sum(exp(shares))), [N, 1].
    return torch.log1p(-shares.exp().sum(dim=-1, keepdim=True).clamp(max=1 - LEAST))
