"""Writing whole or not at all, alone, and never over somebody else's files."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kd_deploy import files
from kd_deploy.errors import UsageError
from kd_deploy.files import (
    locked,
    require_file_place,
    require_ours,
    sha256_file,
    sha256_text,
    staged,
    write_text,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "file").write_text("old")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_staged_replaces_what_was_there(old: Path) -> None:
    with staged(old) as aside:
        (aside / "other").write_text("new")
        assert (old / "file").read_text() == "old"

    assert names(old) == {"other"}
    assert names(old.parent) == {"student"}


def test_a_new_folder_comes_with_its_parents(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "b") as aside:
        (aside / "file").write_text("new")

    assert (tmp_path / "a" / "b" / "file").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_whole(old: Path, error: type[BaseException]) -> None:
    def fail_halfway() -> None:
        with staged(old) as aside:
            (aside / "file").write_text("half")
            raise error

    with pytest.raises(error):
        fail_halfway()

    assert (old / "file").read_text() == "old"
    assert names(old.parent) == {"student"}


def test_a_full_disk_is_named_and_leaves_the_old_whole(old: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*student: No space left"), staged(old):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert (old / "file").read_text() == "old"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="cannot write") as caught, staged(tmp_path / "file" / "student"):
        pass
    assert caught.value.hint


def staged_by(old: Path, number: int) -> Path:
    left = old.with_name(f".student.writing-{socket.gethostname()}-{number}")
    left.mkdir()
    (left / "half").write_text("half")
    return left


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(old: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    killed, living = staged_by(old, dead.pid), staged_by(old, os.getppid())

    with staged(old):
        assert not killed.exists()
        assert living.exists()


def file_left_by(path: Path, number: int) -> Path:
    left = path.with_name(f".{path.name}.writing-{socket.gethostname()}-{number}")
    left.write_text("half")
    return left


def test_a_file_that_a_killed_writer_left_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = tmp_path / "report.json"
    file_left_by(path, dead.pid)
    other, living = file_left_by(tmp_path / "report.md", dead.pid), file_left_by(path, os.getppid())

    write_text(path, "{}")

    assert names(tmp_path) == {"report.json", living.name, other.name}


def test_a_file_that_a_killed_writer_left_is_swept_under_the_lock(old: Path) -> None:
    file_left_by(old, 1)

    with locked(old):
        assert names(old.parent) == {"student", ".student.lock"}


def test_what_a_killed_writer_of_the_same_number_left_is_not_taken_along(old: Path) -> None:
    staged_by(old, os.getpid())

    with staged(old) as aside:
        assert not names(aside)


def test_a_second_writer_is_refused(old: Path) -> None:
    with locked(old), pytest.raises(UsageError, match="another kd-deploy process is writing"), locked(old):
        pass

    with locked(old):
        pass
    assert names(old.parent) == {"student"}


HOLD = """
import sys
from pathlib import Path
from kd_deploy.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_in_another_process_is_refused_until_the_first_is_gone(old: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another kd-deploy process"), locked(old):
            pass
        holder.kill()

    with locked(old):
        pass


def test_a_folder_set_aside_by_a_killed_writer_is_brought_back(old: Path) -> None:
    old.rename(old.with_name(".student.previous"))

    with locked(old):
        assert (old / "file").read_text() == "old"


def test_a_folder_that_is_there_is_not_replaced_by_an_older_one(old: Path) -> None:
    previous = old.with_name(".student.previous")
    previous.mkdir()

    with locked(old):
        assert (old / "file").read_text() == "old"
        with staged(old) as aside:
            (aside / "file").write_text("new")
    assert not previous.exists()


def test_a_file_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "report.md"
    write_text(path, "first ü")
    assert path.read_text(encoding="utf-8") == "first ü"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UsageError, match=r"report\.md: No space left"):
        write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "first ü"
    assert names(path.parent) == {"report.md"}


def test_only_a_folder_of_ours_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    require_ours(folder, marker="bundle.json")
    folder.mkdir()
    require_ours(folder, marker="bundle.json")
    (folder / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"no bundle\.json"):
        require_ours(folder, marker="bundle.json")
    (folder / "bundle.json").write_text("")
    require_ours(folder, marker="bundle.json")
    with pytest.raises(UsageError, match="is a file"):
        require_ours(folder / "thesis.tex", marker="bundle.json")


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("ü".encode() * 2_000_000)

    assert sha256_file(tmp_path / "file") == sha256_text("ü" * 2_000_000)
    assert sha256_text("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_text("\ud800") != sha256_text("?")


def test_a_folder_may_be_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")

    with locked(Path()), staged(Path("student")) as aside:
        assert names(tmp_path) == {"run", ".run.lock"}
        (aside / "file").write_text("new")
    write_text(Path("note"), "text")

    assert names(tmp_path) == {"run"}
    assert names(tmp_path / "run") == {"student", "note"}


@pytest.mark.parametrize("named", [".", "..", "../student"])
def test_the_folder_that_we_are_in_is_not_moved_away(old: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)

    with pytest.raises(UsageError, match="the folder that you are in") as refused, staged(Path(named)):
        pass

    assert refused.value.hint.startswith("cd ")
    assert names(old) == {"file"}


@pytest.mark.parametrize(("place", "why"), [("student", "is a folder"), ("student/file/below.json", "cannot write")])
def test_a_place_that_takes_no_file_is_refused_before_the_work(old: Path, place: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        require_file_place(old.parent / place)

    require_file_place(old.parent / "new" / "folder" / "results.json")


def test_a_mount_point_is_refused_before_the_work(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == old)

    with pytest.raises(UsageError, match="is a mount point") as caught, staged(old):
        raise AssertionError("the work was begun")

    assert caught.value.hint == f"name a folder in it: {old / 'model'}"
    assert (old / "file").read_text() == "old"


def test_what_a_link_stands_for_is_replaced_and_the_link_stays(old: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(old)

    for text in ("new", "newer"):
        with locked(link), staged(link) as aside:
            (aside / "file").write_text(text)

    assert link.is_symlink()
    assert (old / "file").read_text() == "newer"
    assert names(tmp_path) == {"student", "link"}


def test_a_system_without_its_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)

    with pytest.raises(UsageError, match="POSIX"), locked(tmp_path / "student"):
        pass
