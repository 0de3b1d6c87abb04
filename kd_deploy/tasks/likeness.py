"""How alike written texts and their references are: BLEU, chrF and ROUGE-L, from 0 to 1, of sums over rows."""

import re
from collections import Counter
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from kd_deploy.errors import MissingExtraError
from kd_deploy.tasks.scoring import summed

BLEU_ORDER = 4  # words in the longest n-gram
CHRF_ORDER = 6  # characters
RECALL = 2**2  # how much more recall counts in chrF than precision: beta squared
BLEU_WIDTH = 2 + 2 * BLEU_ORDER
CHRF_WIDTH = 3 * CHRF_ORDER

_WORDS = re.compile(r"\w+")


def statistics(written: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """What each row adds to the scores, [N, 29].

    Of BLEU the two lengths, then the n-grams found and those written; of chrF the character n-grams written, wanted
    and found, order by order; ROUGE-L of the row.

    Raises:
        MissingExtraError: sacrebleu is not installed.
    """
    rows = [
        (*bleu, *_character_counts(one, wanted), rouge_l(one, wanted))
        for bleu, one, wanted in zip(_bleu_counts(written, references), written, references, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), BLEU_WIDTH + CHRF_WIDTH + 1)


def metrics(statistics: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> dict[str, float]:
    """BLEU and chrF of all rows together, as sacrebleu computes them; ROUGE-L as the mean over rows.

    BLEU (Papineni et al. 2002) is of words as mteval-v13a divides them, smoothed exponentially; chrF (Popović 2015)
    of up to six characters without spaces, recall twice as important.

    Raises:
        MissingExtraError: sacrebleu is not installed.
    """
    sums, total_rows = summed(statistics, counts)
    bleu, chrf, rouge = np.split(sums, [BLEU_WIDTH, BLEU_WIDTH + CHRF_WIDTH])
    return {"bleu": _bleu(bleu), "chrf": _chrf(chrf), "rouge_l": float(rouge[0] / max(1, total_rows))}


def likeness(left: str, right: str) -> float:
    """How alike two texts are: 1 where they are equal, else their chrF, the mean of both directions."""
    if left == right:
        return 1.0
    there, back = (
        _chrf(np.array(_character_counts(a, b), dtype=np.float64)) for a, b in ((left, right), (right, left))
    )
    return (there + back) / 2


def rouge_l(written: str, reference: str) -> float:
    """F1 of the longest common subsequence of lower-cased words (Lin 2004); 0 where a text has none."""
    left, right = _WORDS.findall(written.lower()), _WORDS.findall(reference.lower())
    common = _longest_common_subsequence(left, right)
    return 2 * common / (len(left) + len(right)) if common else 0.0


def _bleu_counts(written: Sequence[str], references: Sequence[str]) -> list[tuple[int, ...]]:
    scorer = _sacrebleu().BLEU(effective_order=True)  # without a warning; the counts are the same
    scores = (scorer.sentence_score(one, [wanted]) for one, wanted in zip(written, references, strict=True))
    return [(one.sys_len, one.ref_len, *one.counts, *one.totals) for one in scores]


def _bleu(sums: NDArray[np.float64]) -> float:
    written, wanted, *counts = (round(one) for one in sums.tolist())
    found, total = counts[:BLEU_ORDER], counts[BLEU_ORDER:]
    score = _sacrebleu().BLEU.compute_bleu(found, total, sys_len=written, ref_len=wanted, smooth_method="exp").score
    return float(min(1.0, score / 100))


def _sacrebleu() -> ModuleType:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise MissingExtraError("BLEU", extra="distill") from error
    return metrics


def _character_counts(written: str, reference: str) -> list[int]:
    """Of each order the n-grams written, 0 where the reference has none so long, those wanted, and those found."""
    left, right = "".join(written.split()), "".join(reference.split())
    out = []
    for order in range(1, CHRF_ORDER + 1):
        ours, theirs = _grams(left, order), _grams(right, order)
        found = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
        out += [ours.total() if theirs else 0, theirs.total(), found]
    return out


def _grams(text: str, order: int) -> Counter[str]:
    return Counter([text[begin : begin + order] for begin in range(len(text) - order + 1)])


def _chrf(sums: NDArray[np.float64]) -> float:
    """F2 of the mean precision and the mean recall, over the orders that both texts have."""
    written, wanted, found = sums.reshape(CHRF_ORDER, 3).T
    both = (written > 0) & (wanted > 0)
    if not found.any():
        return 0.0
    precision, recall = (found[both] / written[both]).mean(), (found[both] / wanted[both]).mean()
    return float((1 + RECALL) * precision * recall / (RECALL * precision + recall))


def _longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words it has; a row of the usual table is the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(left)) - 1
    row = every  # a bit is off where the subsequence grows
    for word in right:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(left) - row.bit_count()
