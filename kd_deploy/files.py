"""Writing so that a reader never sees half: locks, folders staged aside and moved into place, hashes."""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil

from kd_deploy.errors import UsageError

CHUNK_BYTES = 1 << 20
_OF_THE_PLACE = ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "ENOTDIR", "EBUSY", "EXDEV")
FAULTS_OF_THE_PLACE = {getattr(errno, name) for name in _OF_THE_PLACE}


def is_main_process() -> bool:
    """Whether this process writes: the first of those that torchrun or accelerate started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def sha256_file(path: Path) -> str:
    """The hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """The hex SHA-256 of a text's UTF-8 bytes (lone surrogates included)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: aside first, then renamed over what was there."""
    aside = _aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    reason = error.strerror or type(error).__name__
    return UsageError(f"cannot write {path}: {reason}", hint="choose another --output, or free this one")


def absolute(path: Path) -> Path:
    """The path from the root, with no `.` and `..` in it; links are not followed, as resolve() would."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _itself(folder: Path) -> Path:
    """The folder that a link stands for: what is made goes there, and the link stays."""
    return folder.resolve() if folder.is_symlink() else folder


def beside(path: Path, name: str) -> Path:
    """A place in the same folder, `{}` in its name standing for that of `path`; `.` and `..` get their real names."""
    whole = absolute(path)
    return whole.with_name(name.format(whole.name))


def _aside(path: Path) -> Path:
    return beside(path, f".{{}}.writing-{socket.gethostname()}-{os.getpid()}")


def _sweep(path: Path) -> None:
    """Remove what writers of this host that no longer live had staged for `path`; the living keep theirs."""
    start = beside(path, f".{{}}.writing-{socket.gethostname()}-")
    for left in start.parent.glob(glob.escape(start.name) + "*"):
        number = left.name.removeprefix(start.name)
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            _remove(left)


def _remove(left: Path) -> None:
    """Remove a folder or a file, as far as we may."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        left.unlink()


def _previous(folder: Path) -> Path:
    return beside(folder, ".{}.previous")


def _take(stream: IO[str], lock: Path) -> bool:
    # The file may have been removed by its last holder after we opened it: a lock on it holds nothing.
    try:
        import fcntl
    except ModuleNotFoundError as error:  # the runtime reads this module's hashes there too
        raise UsageError(
            "training, exporting and measuring need a POSIX system",
            hint="take Linux, or WSL on Windows",
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(stream.fileno()).st_ino == lock.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the only right to write `folder`; a second writer is refused at once.

    Also brings back what a writer killed between its two renames had set aside.

    Raises:
        UsageError: Another process writes there, or the place cannot be written.
    """
    if not is_main_process():
        yield
        return
    folder = _itself(folder)
    lock = beside(folder, ".{}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with stream:
        if not _take(stream, lock):
            raise UsageError(
                f"another kd-deploy process is writing {folder}",
                hint="wait until it ends, or choose another --output",
            )
        if _previous(folder).exists() and not folder.exists():
            _previous(folder).rename(folder)
        any_writer = beside(folder, ".{}.writing-")
        for left in any_writer.parent.glob(f"{glob.escape(any_writer.name)}*"):
            _remove(left)  # of a writer that was killed
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _swap(aside: Path, folder: Path) -> None:
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    aside.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


@contextlib.contextmanager
def staged(folder: Path, *, move: Callable[[Path, Path], None] = _swap) -> Iterator[Path]:
    """Give an empty folder beside `folder`; move it into place when the block ends well, or as `move` does.

    Of several processes of one training, the first one's folder is moved, the others' are dropped.
    When the block raises, the staged folder is removed and `folder` is as it was.

    Raises:
        UsageError: The place cannot be written, or cannot be moved away: we are in it, or it is a mount point.
    """
    folder = _itself(folder)
    require_outside(folder)
    aside = _aside(folder)
    try:
        _sweep(folder)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield aside
        if is_main_process():
            move(aside, folder)
    except OSError as error:
        if error.errno in FAULTS_OF_THE_PLACE:
            raise _unwritable(folder, error) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_outside(folder: Path) -> None:
    """Refuse to replace the folder that this process is in, or one above it, or one that something is mounted on.

    Raises:
        UsageError: With what to type instead.
    """
    whole, here = absolute(_itself(folder)), Path.cwd()
    if whole.is_mount():
        raise UsageError(
            f"{folder} is a mount point: it cannot be replaced", hint=f"name a folder in it: {folder / 'model'}"
        )
    if folder.exists() and here.is_relative_to(whole):
        raise UsageError(f"{folder} is the folder that you are in: it cannot be replaced", hint=f"cd {whole.parent}")


def require_file_place(path: Path) -> None:
    """Refuse a place that no file can be written to, before the work whose result goes there.

    Raises:
        UsageError: It is a folder, or lies in a folder that we may not write to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file", hint=f"name a file in it: {path / 'results.json'}")
    above = next(one for one in absolute(path).parents if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise _unwritable(path, OSError(errno.EACCES, os.strerror(errno.EACCES)))


def require_ours(folder: Path, *, marker: str) -> None:
    """Refuse an output place that holds somebody else's files.

    Args:
        folder: Where we are about to write.
        marker: The name of the file that a folder of ours has.

    Raises:
        UsageError: `folder` is a file, or a folder with files in it and no marker.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder", hint="choose another --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise UsageError(
            f"{folder} holds files that are not to be replaced here (it has no {marker})",
            hint="choose an empty folder or a new name for --output",
        )
