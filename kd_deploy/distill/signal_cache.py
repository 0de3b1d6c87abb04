"""One kind of teacher signal on disk: computed once, keyed by the text, reused over epochs and runs.

A cache is a folder of segments. Each holds `keys.npy` (hashes of the inputs), `ends.npy` (where the rows of each
input end) and `values.npy` (the rows, memory-mapped when read), is written aside and moved into place, and carries
the hashes of its files: a writer that was killed leaves nothing, and a segment that was damaged is left aside and
computed again. Trainings beside each other may write the same segment: the first one's stays. No pickle. What the
signals depend on besides the texts stands in `settings.json` above the caches.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.errors import UsageError
from kd_deploy.files import sha256_file, sha256_text, staged, write_text
from kd_deploy.tasks.encoding import TextInput

KEY_BYTES = 16
BLOCK = 16384  # texts that are asked about and kept together: no more are lost when a pass is broken off
SETTINGS = "settings.json"
VARIABLE = "KD_DEPLOY_CACHE"  # the environment variable that says where all caches are
NOT_HERE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # file systems that promise no room
PARTS = ("keys.npy", "ends.npy", "values.npy")


def key_of(one: TextInput | list[list[int]]) -> bytes:
    """What an input is found by: a hash of its text, or of its tokens and what is to be said of them."""
    return hashlib.sha256(json.dumps(one).encode()).digest()[:KEY_BYTES]


def blocks(count: int) -> Iterator[tuple[slice, str]]:
    """The places of so many texts block by block, and which part each is, where there are several."""
    parts = -(-count // BLOCK)
    for part in range(parts):
        yield slice(part * BLOCK, (part + 1) * BLOCK), f", part {part + 1} of {parts}" if parts > 1 else ""


def name_of(settings: Mapping[str, object]) -> str:
    """What the folder is called of all signals that depend on these settings."""
    return sha256_text(json.dumps(settings, sort_keys=True))[:32]


def place_for(settings: Mapping[str, object], *, cache: Path) -> Path:
    """The folder of all signals that depend on these settings; `settings.json` there says which they are.

    Args:
        settings: JSON values.
        cache: The folder of all caches.
    """
    folder = cache / "signals" / name_of(settings)
    if not (folder / SETTINGS).is_file():
        with contextlib.suppress(UsageError):  # a cache that may only be read is as good without
            write_text(folder / SETTINGS, json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return folder


class SignalCache:
    """The rows [n, W] of each input: one row for a text, or one for each of its tokens."""

    def __init__(self, folder: Path) -> None:
        """Open every whole segment in a folder, which need not exist."""
        self._folder = folder
        self._rows: dict[bytes, NDArray[np.generic]] = {}
        for segment in sorted(folder.glob("segment-*")):
            if not self._took(segment):
                progress.say(f"{segment} is damaged and is left aside")

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, key: bytes) -> NDArray[np.generic]:
        return self._rows[key]

    @contextlib.contextmanager
    def writing(
        self, keys: Sequence[bytes], *, lengths: Sequence[int], width: int, dtype: DTypeLike
    ) -> Iterator[list[NDArray[np.generic]]]:
        """Give the rows [length, W] of each key to be filled; they are kept when the block ends well."""
        if not processes.is_first():
            raise UsageError(
                f"process {processes.rank()} does not find in {self._folder} what the first one kept there",
                hint=processes.ONE_CACHE,
            )
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        ends = np.cumsum(lengths, dtype=np.int64)
        with _of_the_cache(), staged(self._folder / f"segment-{name}", move=self._keep) as aside:
            _save(aside / "keys.npy", np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))
            _save(aside / "ends.npy", ends)
            values = _mapped(aside / "values.npy", shape=(int(ends[-1]), width), dtype=dtype)
            yield _cut(values, ends)
            values.flush()
            record = {part: sha256_file(aside / part) for part in PARTS}
            (aside / "segment.json").write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _keep(self, aside: Path, segment: Path) -> None:
        with _alone_in(self._folder):
            if self._took(segment):
                return  # another training had the same to ask, and was first
            shutil.rmtree(segment, ignore_errors=True)
            aside.rename(segment)
            self._take(segment)

    def _took(self, segment: Path) -> bool:
        """Take the rows of a segment if it is whole."""
        try:
            if not _is_whole(segment):
                return False
            self._take(segment)
        except FileNotFoundError:  # it is being replaced, so it was damaged
            return False
        return True

    def _take(self, segment: Path) -> None:
        keys = np.load(segment / "keys.npy", allow_pickle=False)
        ends = np.load(segment / "ends.npy", allow_pickle=False)
        values = np.load(segment / "values.npy", mmap_mode="r", allow_pickle=False)
        self._rows |= dict(zip((key.tobytes() for key in keys), _cut(values, ends), strict=True))


def _save(path: Path, values: NDArray[np.generic]) -> None:
    with path.open("wb") as stream:  # np.save on a path says of a full disk how many bytes are missing, and not where
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(values))
        stream.write(values.tobytes())


def _mapped(path: Path, *, shape: tuple[int, int], dtype: DTypeLike) -> np.memmap[Any, Any]:
    values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as stream:  # a map of a file with holes ends the process where the disk is full
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except AttributeError:  # macOS has none
            pass
        except OSError as error:
            if error.errno not in NOT_HERE:
                raise
    return values


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """A block that one process at a time is in; the others wait."""
    import fcntl  # POSIX alone; without it no training has come so far

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _of_the_cache() -> Iterator[None]:
    """A block in which a place that cannot be written is told as that of the cache."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error), hint=f"name a folder in ${VARIABLE} that can be written and has room") from error


def _cut(values: NDArray[np.generic], ends: NDArray[np.int64]) -> list[NDArray[np.generic]]:
    plain = np.asarray(values)  # a view without memmap's own cost for every slice
    return np.split(plain, ends[:-1])


def _is_whole(segment: Path) -> bool:
    try:
        record = json.loads((segment / "segment.json").read_text(encoding="utf-8"))
        return all(_hash_of(segment / part, _stamp(segment / part)) == record[part] for part in PARTS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_size, told.st_mtime_ns


@functools.cache
def _hash_of(path: Path, _stamp: tuple[int, int]) -> str:
    # A training opens its caches several times, and they are large.
    return sha256_file(path)
