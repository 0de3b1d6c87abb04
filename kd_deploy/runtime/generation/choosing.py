"""The next token of every text: penalties and bans, then the likeliest one, or one by chance. No model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_deploy.generation import Generation
from kd_deploy.tasks.writing import Logits

NO_CHANCE = -np.inf
SEED_BITS = (1 << 64) - 1  # numpy takes no seed below 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The next token of every text, [B], and its log-probability in nats, [B], by the logits as they came."""

    tokens: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]


def choose(
    logits: Logits,
    histories: Sequence[Sequence[int]],
    *,
    settings: Generation,
    never: Sequence[int],
    chances: Sequence[np.random.Generator],
) -> Chosen:
    """The next token of every text.

    Args:
        logits: [B, V].
        histories: What stands before, of every text: a prompt or the decoder's first tokens, and what was written.
        settings: The way to choose; without a temperature the likeliest token.
        never: Tokens that are not to be written.
        chances: A source of chance for every text.
    """
    scores = adjusted(logits, histories, settings=settings, never=never)
    if settings.temperature == 0:
        tokens = scores.argmax(axis=1)
    else:
        rows = zip(narrowed(scores, settings), chances, strict=True)
        tokens = np.array([_drawn(row, chance) for row, chance in rows])
    tokens = tokens.astype(np.int64, copy=False)
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_tokens = shifted[np.arange(len(tokens)), tokens]
    # In float32 the sum of a sure token and of all others is 1 and nothing.
    return Chosen(tokens, of_tokens - np.log(np.exp(shifted).sum(axis=1, dtype=np.float64)))


def adjusted(
    scores: Logits, histories: Sequence[Sequence[int]], *, settings: Generation, never: Sequence[int]
) -> Logits:
    """Scores [B, V] under penalties and bans; a text in which all tokens are banned keeps its own.

    Without penalties and bans these are the scores that were given, and not a copy.
    """
    penalty, size = settings.repetition_penalty, settings.no_repeat_ngram
    if penalty == 1 and size == 0:
        return _without(scores, never) if never else scores
    out = scores.copy()
    for row, history in zip(out, histories, strict=True):
        if penalty != 1:
            _penalise(row, history, penalty)
        if size:
            row[_repeating(history, size)] = NO_CHANCE
    out = _without(out, never)
    lost = np.isneginf(out).all(axis=1)
    out[lost] = scores[lost]
    return out


def narrowed(scores: Logits, settings: Generation) -> Logits:
    """Scores [B, V] under the temperature, minus infinity for tokens outside top_k and top_p."""
    out = scores / np.float32(settings.temperature)
    if 0 < settings.top_k < out.shape[1]:
        least = np.partition(out, -settings.top_k, axis=1)[:, -settings.top_k, None]  # [B, 1]
        out = np.where(out < least, np.float32(NO_CHANCE), out)
    if settings.top_p < 1:
        out = np.stack([_nucleus(row, settings.top_p) for row in out])
    return out


def log_softmax(logits: Logits) -> Logits:
    """Log-probabilities [B, V] in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Logits = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def chance_of(settings: Generation, number: int) -> np.random.Generator:
    """The source of chance of a text, by its number among those that were asked for: neighbours do not matter."""
    return np.random.default_rng([settings.seed & SEED_BITS, number])


def _without(scores: Logits, never: Sequence[int]) -> Logits:
    out = scores.copy()
    out[:, list(never)] = NO_CHANCE
    return out


def _penalise(row: Logits, history: Sequence[int], penalty: float) -> None:
    # A token may have no logit: some vocabularies are larger than their heads.
    seen = np.array([token for token in set(history) if token < len(row)], dtype=np.int64)
    values = row[seen]
    row[seen] = np.where(values < 0, values * penalty, values / penalty)


def _repeating(history: Sequence[int], size: int) -> list[int]:
    # The tokens with which the last `size` would be a run that is there already.
    begins = len(history) - size + 1
    last = list(history[begins:]) if begins >= 0 else None
    return [history[at + size - 1] for at in range(begins) if list(history[at : at + size - 1]) == last]


def _nucleus(row: Logits, top_p: float) -> Logits:
    shares = np.exp(row - row.max())
    shares /= shares.sum()
    # All tokens with a smaller share than this have, together, less than what is left out: no need to sort them.
    likely = np.flatnonzero(shares > (1 - top_p) / len(row))
    order = likely[np.argsort(shares[likely], kind="stable")]
    below = 1 - shares[likely].sum() + np.cumsum(shares[order])  # the share of a token and of all less likely ones
    kept = order[below > 1 - top_p]
    kept = kept if len(kept) else order[-1:]
    out = np.full_like(row, NO_CHANCE)
    out[kept] = row[kept]
    return out


def _drawn(row: Logits, chance: np.random.Generator) -> int:
    possible = np.flatnonzero(row > NO_CHANCE)
    shares = np.exp((row[possible] - row[possible].max()).astype(np.float64))
    heights = np.cumsum(shares)
    place = np.searchsorted(heights, chance.random() * heights[-1], side="right")
    return int(possible[min(place, len(possible) - 1)])
