"""The merges of a BPE model: which entries one is built from, and which merges a smaller vocabulary still has."""

import math
from collections.abc import Callable, Container
from itertools import pairwise
from typing import Any


def builder(model: dict[str, Any]) -> Callable[[str], set[str]]:
    """A function from an entry to all entries that the merges pass through while they build it, itself included.

    They are what must be kept with it. BPE makes the merge of lowest rank first, wherever an entry stands, so
    the way to an entry is the same in every word. An entry that merges do not reach stands alone.

    Args:
        model: The model section of a tokenizer.json, its merges as pairs.
    """
    ranks = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}

    def built_from(entry: str) -> set[str]:
        symbols = _symbols(entry, model)
        met = {entry, *symbols}
        while len(symbols) > 1:
            rank, at = min((ranks.get(pair, math.inf), at) for at, pair in enumerate(pairwise(symbols)))
            if rank == math.inf:
                return {entry}
            symbols[at : at + 2] = [_joined(symbols[at], symbols[at + 1], model)]
            met.add(symbols[at])
        return met if symbols == [entry] else {entry}

    return built_from


def kept_merges(model: dict[str, Any], vocabulary: Container[str]) -> list[list[str]]:
    """The merges, in their order, whose two sides and result are all in the vocabulary."""
    return [
        [left, right]
        for left, right in model["merges"]
        if left in vocabulary and right in vocabulary and _joined(left, right, model) in vocabulary
    ]


def _symbols(entry: str, model: dict[str, Any]) -> list[str]:
    """The single characters that an entry starts as, each in the form for its place in a word."""
    prefix, suffix = model["continuing_subword_prefix"] or "", model["end_of_word_suffix"] or ""
    ends = bool(suffix) and entry.endswith(suffix)
    inside = bool(prefix) and entry.startswith(prefix)
    symbols = list(entry.removeprefix(prefix).removesuffix(suffix))
    symbols = [prefix + symbol if at or inside else symbol for at, symbol in enumerate(symbols)]
    return [*symbols[:-1], symbols[-1] + suffix] if symbols and ends else symbols


def _joined(left: str, right: str, model: dict[str, Any]) -> str:
    return left + right[len(model["continuing_subword_prefix"] or "") :]
