"""Caches that trainings beside each other write and read at once."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.distill import signal_cache
from kd_deploy.distill.signal_cache import SignalCache, key_of

KEYS = [key_of(text) for text in ("a great film", "a dull story", "warm people")]
# Several rounds of the same answers, each as a training of its own would keep them.
WRITER = """
import sys
from pathlib import Path
from kd_deploy.distill.signal_cache import SignalCache, key_of

start, folder = Path(sys.argv[1]), Path(sys.argv[2])
keys = [key_of(str(number)) for number in range(20)]
print("ready", flush=True)
while not start.exists():
    pass
for number in range(60):
    cache = SignalCache(folder / str(number))
    with cache.writing(keys, lengths=[1] * len(keys), width=2, dtype="float32") as rows:
        for place, row in enumerate(rows):
            row[:] = place
    assert all((cache[key] == place).all() for place, key in enumerate(keys))
"""


def write(folder: Path, value: float) -> SignalCache:
    cache = SignalCache(folder)
    with cache.writing(KEYS, lengths=[1, 2, 1], width=2, dtype=np.float32) as rows:
        fill(rows, value)
    return cache


def fill(rows: Sequence[NDArray[np.generic]], value: float) -> None:
    for row in rows:
        row[:] = value


def test_what_another_training_kept_meanwhile_stays(tmp_path: Path) -> None:
    late = SignalCache(tmp_path / "cache")
    with late.writing(KEYS, lengths=[1, 2, 1], width=2, dtype=np.float32) as rows:
        fill(rows, 2)
        write(tmp_path / "other", 1)
        (tmp_path / "cache").mkdir(exist_ok=True)
        (segment,) = (tmp_path / "other").glob("segment-*")
        segment.rename(tmp_path / "cache" / segment.name)

    assert [float(late[key].max()) for key in KEYS] == [1, 1, 1]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [segment.name]


def test_a_damaged_segment_that_lies_there_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (segment,) = tmp_path.glob("segment-*")
    (segment / "values.npy").write_bytes(b"half")

    again = write(tmp_path, 2)

    assert [float(again[key].max()) for key in KEYS] == [2, 2, 2]
    assert float(SignalCache(tmp_path)[KEYS[1]].max()) == 2


def test_a_segment_that_goes_while_it_is_opened_is_left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)
    (segment,) = tmp_path.glob("segment-*")

    def whole_until_now(path: Path) -> bool:
        (path / "values.npy").unlink()
        return True

    monkeypatch.setattr(signal_cache, "_is_whole", whole_until_now)

    assert KEYS[0] not in SignalCache(tmp_path)
    assert segment.is_dir()


def test_processes_that_keep_the_same_answers_at_once_all_go_on(tmp_path: Path) -> None:
    start = tmp_path / "start"
    command = [sys.executable, "-c", WRITER, str(start), str(tmp_path / "caches")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    start.touch()
    told = [one.communicate(timeout=120)[1] for one in processes]

    assert [one.returncode for one in processes] == [0, 0, 0], told
    assert len(list((tmp_path / "caches").glob("*/segment-*"))) == 60
    assert not list((tmp_path / "caches").glob("*/.*"))
