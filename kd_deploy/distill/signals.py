"""The teacher's answers on disk: computed once, keyed by the text, reused over epochs and runs.

A cache is a folder of segments. Each holds `keys.npy` (hashes of the inputs) and `logits.npy`, is written
aside and moved into place, and carries the hashes of both files: a writer that was killed leaves nothing, and
a segment that was damaged is left aside and computed again. No pickle.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from kd_deploy import progress
from kd_deploy.distill.precision import autocast, choose_format
from kd_deploy.distill.tokenizer_files import tokenizer_file
from kd_deploy.distill.torch_runner import all_logits, open_encoder
from kd_deploy.files import sha256_file, sha256_text, staged
from kd_deploy.tasks.encoding import TextInput

KEY_BYTES = 16
VERSION = 1


def cache_folder() -> Path:
    """Where signals are kept over runs: $KD_DEPLOY_CACHE, else the user's cache folder."""
    given = os.environ.get("KD_DEPLOY_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "kd-deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Teacher logits for the rows of a data set, and how many of them had to be computed."""

    logits: NDArray[np.float32]
    computed: int
    reused: int


def teacher_signals(
    teacher: nn.Module, checkpoint: Path, inputs: Sequence[TextInput], *, max_length: int, cache: Path
) -> Signals:
    """The teacher's logits [N, C] for every input, from the cache where it has them.

    Args:
        teacher: The classifier that `checkpoint` holds.
        checkpoint: Its folder; weights, tokenizer and settings make the fingerprint of the cache.
        inputs: Texts or pairs, in any order; duplicates are computed once.
        max_length: Tokens, as the teacher is to see them.
        cache: The folder of all caches.
    """
    chosen = choose_format("auto", teacher)
    folder = cache / "signals" / fingerprint(checkpoint, max_length=max_length, number_format=chosen)
    keys = [_key(one) for one in inputs]
    known = _load(folder)
    missing = {key: one for key, one in zip(keys, inputs, strict=True) if key not in known}
    if missing:
        encoder = open_encoder(checkpoint, max_length=max_length)
        device = next(teacher.parameters()).device
        logits = all_logits(
            teacher,
            encoder,
            list(missing.values()),
            context=autocast(chosen, device),
            progress=lambda batches: progress.track(batches, "asking the teacher", total=len(batches)),
        )
        _append(folder, list(missing), logits)
        known |= dict(zip(missing, logits, strict=True))
    return Signals(
        logits=np.stack([known[key] for key in keys]), computed=len(missing), reused=len(set(keys)) - len(missing)
    )


def fingerprint(checkpoint: Path, *, max_length: int, number_format: str) -> str:
    """What the signals depend on besides the text: weights, config, tokenizer, length limit, number format."""
    weights = [sha256_file(path) for path in sorted(checkpoint.glob("*.safetensors"))]
    settings = {
        "version": VERSION,
        "weights": weights,
        "config": sha256_file(checkpoint / "config.json"),
        "tokenizer": sha256_file(tokenizer_file(checkpoint)),
        "max_length": max_length,
        "format": number_format,
    }
    return sha256_text(json.dumps(settings, sort_keys=True))[:32]


def _key(one: TextInput) -> bytes:
    digest = hashlib.sha256(json.dumps(one).encode())
    return digest.digest()[:KEY_BYTES]


def _load(folder: Path) -> dict[bytes, NDArray[np.float32]]:
    known: dict[bytes, NDArray[np.float32]] = {}
    for segment in sorted(folder.glob("segment-*")):
        if not _is_whole(segment):
            progress.say(f"{segment} is damaged and is left aside")
            continue
        keys = np.load(segment / "keys.npy", allow_pickle=False)
        logits = np.load(segment / "logits.npy", mmap_mode="r", allow_pickle=False)
        known |= {key.tobytes(): row for key, row in zip(keys, logits, strict=True)}
    return known


def _is_whole(segment: Path) -> bool:
    try:
        record = json.loads((segment / "segment.json").read_text(encoding="utf-8"))
        return all(sha256_file(segment / name) == record[name] for name in ("keys.npy", "logits.npy"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _append(folder: Path, keys: Sequence[bytes], logits: NDArray[np.float32]) -> None:
    name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
    with staged(folder / f"segment-{name}") as aside:
        np.save(aside / "keys.npy", np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))
        np.save(aside / "logits.npy", logits)
        record = {part: sha256_file(aside / part) for part in ("keys.npy", "logits.npy")}
        (aside / "segment.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
