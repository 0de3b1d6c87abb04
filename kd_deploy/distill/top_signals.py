"""What the teacher holds likeliest at each token of the training texts, kept on disk, with the mass of all the rest.

A row of logits for every token would fill any disk. Of the distribution p over a vocabulary the k likeliest entries
are kept, and one outcome more stands for all others together: the divergence between such distributions is never
above that between the whole ones, and comes near it where the rest has little mass.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.distill.finite import require_signal
from kd_deploy.distill.objectives.likeliest import likeliest
from kd_deploy.distill.passes import PASS_TOKEN_BUDGET
from kd_deploy.distill.precision import choose_format, usual_device
from kd_deploy.distill.room import room_for
from kd_deploy.distill.rows import Collate, Rows, TrainingData
from kd_deploy.distill.signal_cache import SignalCache, blocks, key_of
from kd_deploy.distill.signals import ENTRIES, LOGITS, LiveTeacher, Signals, cache_folder, place_of
from kd_deploy.distill.teachers import Teachers
from kd_deploy.errors import RecipeError
from kd_deploy.tasks.encoding import Encoder, batches_by_length
from kd_deploy.tasks.task import NO_DECISION

BYTES = 2, 4  # of a log-probability, and of the number of an entry


def top_signals(data: TrainingData, teachers: Teachers, *, count: int, limit_gb: float) -> Signals:
    """The likeliest entries at every token that is decided, from the cache where it has them.

    Args:
        data: Rows, whose targets are tokens.
        teachers: The first of them answers.
        count: Entries of a token.
        limit_gb: What they may take on disk.

    Returns:
        For each row of T targets `logits` [T, k + 1], log-probabilities and last that of the rest, and `entries`
        [T, k]; zeros where nothing is decided.

    Raises:
        RecipeError: They take more than the limit.
    """
    rows = Rows(data)
    given = [rows[row] for row in range(len(rows))]
    keys = [key_of([one["encoded"].ids, one["target"].tolist()]) for one in given]
    count = min(count, data.encoder.tokenizer.get_vocab_size() - 1)
    tokens, width = sum(len(one["target"]) for one in given), (count + 1) * BYTES[0] + count * BYTES[1]
    place = place_of(teachers.model, teachers.folder, max_length=teachers.max_length, cache=cache_folder())
    caches = _Caches(place, count=count)
    new = sum(len(one["target"]) for key, one in zip(keys, given, strict=True) if key not in caches)
    if not processes.agreed(room_for(tokens * width, new=new * width, limit_gb=limit_gb, cache=cache_folder())):
        raise RecipeError(
            f"distill.top_k {count} takes {tokens * width / 1e9:.1f} GB for {tokens} tokens, more than "
            f"distill.cache_gb {limit_gb:g} or the free space allow",
            hint="lower top_k, raise cache_gb, or leave top_k out: the teacher then answers live",
        )
    with processes.first_ahead():
        caches = _Caches(place, count=count)  # with what the first process has written meanwhile
        return _kept(teachers, data.encoder, given, keys=keys, caches=caches)


def _kept(
    teachers: Teachers, encoder: Encoder, given: Sequence[dict[str, Any]], *, keys: Sequence[bytes], caches: "_Caches"
) -> Signals:
    chosen, count = choose_format("auto", teachers.model), caches.count
    missing = {key: row for row, key in enumerate(keys) if key not in caches}
    live = LiveTeacher(teachers.model, (LOGITS,), chosen=chosen, narrow=True)
    collate = Collate(encoder, sorted({"attention_mask", *live.inputs}))
    new, rows = list(missing), [given[row] for row in missing.values()]
    for block, part in blocks(len(new)):
        found = _computed(live, collate, rows[block], count=count, part=part)
        caches.keep(new[block], [len(row["target"]) for row in rows[block]], found)
    return Signals(rows=caches.rows(keys), computed=len(missing), reused=len(set(keys)) - len(missing))


class _Caches:
    # The two arrays of each row.
    def __init__(self, folder: Path, *, count: int) -> None:
        self.count = count
        self._shares, self._entries = (SignalCache(folder / f"top-{count}.{name}") for name in (LOGITS, ENTRIES))

    def __contains__(self, key: bytes) -> bool:
        return key in self._shares and key in self._entries

    def rows(self, keys: Sequence[bytes]) -> dict[str, list[NDArray[np.generic]]]:
        return {LOGITS: [self._shares[key] for key in keys], ENTRIES: [self._entries[key] for key in keys]}

    def keep(
        self,
        keys: Sequence[bytes],
        lengths: Sequence[int],
        found: Iterator[tuple[int, NDArray[np.bool_], Tensor, Tensor]],
    ) -> None:
        with contextlib.ExitStack() as files:
            shares = files.enter_context(
                self._shares.writing(keys, lengths=lengths, width=self.count + 1, dtype=np.float16)
            )
            entries = files.enter_context(
                self._entries.writing(keys, lengths=lengths, width=self.count, dtype=np.int32)
            )
            for row, decided, likely, which in found:
                shares[row][decided] = likely.numpy()
                entries[row][decided] = which.numpy()


def _computed(
    live: LiveTeacher, collate: Collate, rows: Sequence[dict[str, Any]], *, count: int, part: str
) -> Iterator[tuple[int, NDArray[np.bool_], Tensor, Tensor]]:
    """The number of each row, where something is decided in it [T], and there the log-probabilities and entries."""
    lengths = [len(row["encoded"]) + len(row["target"]) for row in rows]
    batches, device = list(batches_by_length(lengths, token_budget=PASS_TOKEN_BUDGET)), usual_device()
    for batch in progress.track(batches, f"asking the teacher{part}", total=len(batches)):
        arrays = {name: values.to(device) for name, values in collate([rows[row] for row in batch]).items()}
        decided = arrays["targets"] != NO_DECISION  # [B, T]
        if not decided.any():
            continue
        said = live.signal(arrays)[LOGITS]
        require_signal(said, name=LOGITS)
        said = said[0] if said.shape[:2] != decided.shape else said[decided]  # [N, V]
        shares, entries = (one.cpu() for one in likeliest(said.float(), count=count))
        ends = decided.sum(dim=1).cumsum(dim=0).tolist()
        for place, row in enumerate(batch):
            own = slice(ends[place] - int(decided[place].sum()), ends[place])
            length = len(rows[row]["target"])
            yield row, decided[place, :length].cpu().numpy(), shares[own].half(), entries[own].int()
