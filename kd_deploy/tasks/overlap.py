"""The words that two answers share, as SQuAD counts them (Rajpurkar et al. 2016, arXiv 1606.05250)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from kd_deploy.tasks.words import UNSPACED

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_of(text: object) -> list[str]:
    """What is compared of a text: no case, punctuation or articles; of scripts without spaces each character."""
    plain = _ARTICLES.sub(" ", str(text).lower().translate(_NO_PUNCTUATION))
    return UNSPACED.sub(r" \g<0> ", plain).split()


def f1_of(left: Sequence[str], right: Sequence[str]) -> float:
    """How much two lists of words share, counting repeated ones, 0 to 1; 1 where both are empty."""
    if not left or not right:
        return float(left == right)
    return 2 * (Counter(left) & Counter(right)).total() / (len(left) + len(right))
