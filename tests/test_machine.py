"""The share of a machine that a process was given, and the features of its processor."""

import platform

import pytest

from kd_deploy import machine
from kd_deploy.machine import Machine, installed_versions, this_machine, usable_cores

V2, V1_QUOTA, V1_PERIOD = "/sys/fs/cgroup/cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"


def pretend(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], *, cores: int = 8) -> None:
    def read(path: str) -> str:
        return next((text for name, text in files.items() if path.endswith(name)), "")

    monkeypatch.setattr(machine, "_read", read)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({V2: "max 100000"}, 8),
        ({V2: "200000 100000"}, 2),
        ({V2: "150000 100000"}, 2),
        ({V2: "10000 100000"}, 1),
        ({V2: "9900000 100000"}, 8),
        ({V1_QUOTA: "-1", V1_PERIOD: "100000"}, 8),
        ({V1_QUOTA: "300000", V1_PERIOD: "100000"}, 3),
        ({V2: "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_cores_are_the_smaller_of_mask_and_quota(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    pretend(monkeypatch, files)

    assert usable_cores() == cores


@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
def test_memory_is_the_limit_of_the_cgroup(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch, {name: str(64 * 1024**2)})
    assert this_machine().memory_bytes == 64 * 1024**2

    pretend(monkeypatch, {name: "max"})
    assert this_machine().memory_bytes > 64 * 1024**2


@pytest.mark.parametrize(
    ("flags", "vnni", "bf16"),
    [
        ("avx2", False, False),
        ("avx2 avx512f avx512_vnni", True, False),
        ("avx_vnni", True, False),
        ("amx_bf16", False, True),
    ],
)
def test_features_are_those_of_the_processors_flags(
    monkeypatch: pytest.MonkeyPatch, flags: str, vnni: bool, bf16: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    pretend(monkeypatch, {"cpuinfo": f"model name\t: A Processor\nflags\t\t: fpu {flags}\nflags : none\n"})

    found = this_machine()

    assert (found.cpu, found.has_vnni, found.has_bf16) == ("A Processor", vnni, bf16)


def test_arm_multiplies_int8_without_saturating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    assert Machine(cpu="", features=(), cores=1, memory_bytes=1).has_vnni


def test_versions_are_those_installed() -> None:
    import numpy as np

    found = installed_versions()

    assert found["numpy"] == np.__version__
    assert all(found.values())
