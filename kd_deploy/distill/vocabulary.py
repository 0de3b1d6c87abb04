"""A student's vocabulary: the entries of the teacher's that a corpus uses, and what their choice costs."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.distill.vocabulary_files import WHOLE, entries_of, prune, read_document, required_ids, unknown_id
from kd_deploy.distill.vocabulary_merges import builder
from kd_deploy.errors import DataError, RecipeError
from kd_deploy.tasks.encoding import TextInput

NO_WORD = re.compile(r"(##|▁|Ġ)?.|\[unused\d+\]|<unused\d+>", re.DOTALL)
TEXTS_AT_ONCE = 1024  # Bounds the memory: an encoding is far larger than its text.


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a smaller vocabulary changes in the tokens of a corpus, special tokens not counted."""

    texts: int
    unchanged_texts: int
    tokens_before: int
    tokens_after: int
    unknown_before: int
    unknown_after: int
    entries_before: int
    entries_after: int

    @property
    def unchanged_share(self) -> float:
        """Share of the texts whose pieces are the same as before, 0 to 1."""
        return self.unchanged_texts / self.texts

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are now the unknown token, 0 to 1."""
        return self.unknown_after / max(self.tokens_after, 1)

    @property
    def growth(self) -> float:
        """How many more tokens there are than before, as a share of those."""
        return self.tokens_after / max(self.tokens_before, 1) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Entries kept, [K] int64 ascending, the tokenizer.json that numbers them 0 to K - 1, and what it covers.

    `used` says how many of them the corpus uses or must be kept. A student takes the rows `weights[kept]` of the
    teacher's embedding.
    """

    kept: NDArray[np.int64]
    document: dict[str, Any]
    coverage: Coverage
    used: int


def prune_vocabulary(
    tokenizer_file: Path, texts: Sequence[TextInput], *, size: int | None, pad: int | None = None
) -> Vocabulary:
    """The part of a tokenizer's vocabulary that a corpus uses most.

    Args:
        tokenizer_file: A tokenizer.json with a WordPiece, BPE, Unigram or WordLevel model.
        texts: The corpus; gone through twice.
        size: Entries to keep; None keeps those that the corpus uses, and what must be kept.
        pad: What fills a batch up, which the file need not name; None: it is among what the file names.

    Raises:
        BundleError: The file is not a tokenizer.
        DataError: There are no texts.
        RecipeError: The tokenizer cannot be pruned, or not to this size.
    """
    document = read_document(tokenizer_file)
    before = Tokenizer.from_str(json.dumps(document))
    counts = count_entries(before, texts)
    kept = choose_entries(before, counts, size=size, pad=pad)
    chosen = size is not None and len(kept) < len(entries_of(document))  # all of them are kept of any tokenizer
    used = choose_entries(before, counts, size=None, pad=pad) if chosen else kept
    pruned = prune(document, kept)
    after = Tokenizer.from_str(json.dumps(pruned))
    if any(after.id_to_token(new) != before.id_to_token(int(old)) for new, old in enumerate(kept)):
        # The library numbers added tokens itself, after the model's; in gaps between the model's ids it cannot.
        raise RecipeError(f"student.vocabulary: the ids in {tokenizer_file} cannot be closed up", hint=WHOLE)
    covered = coverage(before, after, texts=texts, kept=kept)
    return Vocabulary(kept=kept, document=pruned, coverage=covered, used=len(used))


def count_entries(tokenizer: Tokenizer, texts: Iterable[TextInput]) -> NDArray[np.int64]:
    """How often the texts use each entry of a tokenizer, whole texts, special tokens left out.

    Args:
        tokenizer: Left as it is.
        texts: Texts, or pairs of them.

    Returns:
        Counts by id, [V], V the highest id plus 1.
    """
    rows = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    counts = np.zeros(rows, dtype=np.int64)  # [V]
    unlimited = _unlimited(tokenizer)
    for chunk in _chunks(texts):
        ids = chain.from_iterable(_ids(unlimited, chunk))
        counts += np.bincount(np.fromiter(ids, dtype=np.int64), minlength=rows)
    return counts


def choose_entries(
    tokenizer: Tokenizer, counts: NDArray[np.int64], *, size: int | None, pad: int | None = None
) -> NDArray[np.int64]:
    """The ids to keep: what must be kept, then by count, the lower id first among equals.

    Kept in any case are special and added tokens, the unknown token, what the post-processor names, and the bytes
    or single characters that a rare word falls into. A BPE entry brings those that its merges pass through; where
    they do not fit into the room left, the next entry is tried. The size is met: the parts of an entry that did
    not fit are tried too.

    Args:
        tokenizer: The one that was counted with.
        counts: From `count_entries`, [V].
        size: Entries to keep; all of them where there are no more. Entries without a count come in where the
            corpus uses fewer, words and their parts before single characters and what was left for later, and never
            for None.
        pad: An id to keep besides, as for `prune_vocabulary`.

    Returns:
        Ids, [K], ascending.

    Raises:
        RecipeError: The size is below what must be kept, or the tokenizer has no unknown token, or not this pad.
    """
    document = json.loads(tokenizer.to_str())
    entries = entries_of(document)
    if size is not None and size >= len(entries):
        return np.array(sorted(entries), dtype=np.int64)
    if pad is not None and pad not in entries:
        raise RecipeError(f"student.vocabulary: the pad id {pad} is no entry of the tokenizer", hint=WHOLE)
    kept = required_ids(document, counts) | ({pad} if pad is not None else set())
    if size is not None and size < len(kept):
        raise RecipeError(
            f"student.vocabulary: {size} entries are too few: special tokens, and the bytes or characters that "
            f"every word can fall into, are {len(kept)}",
            hint=f"choose {len(kept)} or more, or auto",
        )
    candidates = [one for one in entries if one not in kept and (size is not None or counts[one])]
    candidates.sort(key=lambda one: (-counts[one], bool(NO_WORD.fullmatch(entries[one])), one))
    _fill(kept, candidates, room=len(entries) if size is None else size, needed_by=_needed_by(document, entries))
    return np.array(sorted(kept), dtype=np.int64)


def coverage(before: Tokenizer, after: Tokenizer, *, texts: Iterable[TextInput], kept: NDArray[np.int64]) -> Coverage:
    """What a smaller vocabulary changes in the tokens of the texts, whole texts, special tokens left out.

    Args:
        before: The tokenizer as it was.
        after: The pruned one.
        texts: Texts, or pairs of them.
        kept: The old id of each new one, [K].

    Raises:
        DataError: There are no texts.
    """
    unknown_old, unknown_new, old_ids = _unknown(before), _unknown(after), kept.tolist()
    before, after = _unlimited(before), _unlimited(after)
    tally = Counter[str]()
    for chunk in _chunks(texts):
        for old, new in zip(_ids(before, chunk), _ids(after, chunk), strict=True):
            tally.update(
                texts=1,
                unchanged_texts=old == [old_ids[one] for one in new],
                tokens_before=len(old),
                tokens_after=len(new),
                unknown_before=old.count(unknown_old),
                unknown_after=new.count(unknown_new),
            )
    if not tally:
        raise DataError("student.vocabulary: there are no texts to choose entries by", hint="check data.train")
    return Coverage(entries_before=before.get_vocab_size(), entries_after=len(kept), **tally)


def _fill(kept: set[int], candidates: Iterable[int], *, room: int, needed_by: Callable[[int], set[int]]) -> None:
    for one in candidates:
        if len(kept) >= room:
            return
        needed = needed_by(one) - kept
        if len(kept) + len(needed) <= room:
            kept |= needed


def _needed_by(document: dict[str, Any], entries: dict[int, str]) -> Callable[[int], set[int]]:
    model = document["model"]
    if model["type"] != "BPE":
        return lambda one: {one}
    built_from = builder(model)
    return lambda one: {model["vocab"][entry] for entry in built_from(entries[one])}


def _unknown(tokenizer: Tokenizer) -> int:
    found = unknown_id(json.loads(tokenizer.to_str())["model"])
    return -1 if found is None else found  # No id is below 0.


def _unlimited(tokenizer: Tokenizer) -> Tokenizer:
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def _chunks(texts: Iterable[TextInput]) -> Iterator[list[TextInput]]:
    left = iter(texts)
    while chunk := list(islice(left, TEXTS_AT_ONCE)):
        yield chunk


def _ids(tokenizer: Tokenizer, texts: Iterable[TextInput]) -> list[list[int]]:
    valid = [_valid(text) if isinstance(text, str) else (_valid(text[0]), _valid(text[1])) for text in texts]
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(valid, add_special_tokens=False)]


def _valid(text: str) -> str:
    # As the encoder does: the tokenizer refuses a text for one lone surrogate.
    return text.encode("utf-8", "replace").decode()
