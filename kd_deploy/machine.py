"""What this machine is: CPU features that change our choices, and the cores and memory we may really use."""

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("kd-deploy", "numpy", "onnxruntime", "onnx", "tokenizers", "torch", "transformers")
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The processor, the share of it that we were given, and the memory limit."""

    cpu: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int

    @property
    def has_vnni(self) -> bool:
        """Whether int8 products accumulate without saturating (else weights need a 7-bit range)."""
        return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(self.features)) or self.is_arm

    @property
    def has_bf16(self) -> bool:
        """Whether bfloat16 matrix products run in hardware."""
        return bool({"avx512_bf16", "amx_bf16"} & set(self.features))

    @property
    def is_arm(self) -> bool:
        """Whether this is a 64-bit ARM processor."""
        return platform.machine().lower() in {"arm64", "aarch64"}


def this_machine() -> Machine:
    """Look at the processor's flags, and at the affinity mask and cgroup of this process."""
    cpu, flags = _cpu_info()
    return Machine(
        cpu=cpu,
        features=tuple(name for name in CPU_FEATURES if name in flags),
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
    )


def usable_cores() -> int:
    """The cores this process may use: the smaller of its affinity mask and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def installed_versions() -> dict[str, str]:
    """The versions of the packages that results depend on; those not installed are left out."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _cpu_info() -> tuple[str, frozenset[str]]:
    lines: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        lines.setdefault(key.strip(), value.strip())
    name = lines.get("model name") or platform.processor() or platform.machine()
    return name, frozenset(lines.get("flags", lines.get("Features", "")).split())


def _cgroup_quota() -> float | None:
    limit = _read("/sys/fs/cgroup/cpu.max").split()  # version 2: "max 100000" or "150000 100000"
    if not limit:
        limit = [_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]  # version 1
    quota, period = [*limit, "", ""][:2]
    if not quota.isdigit() or not period.isdigit() or int(quota) == 0:
        return None
    return int(quota) / int(period)


def _memory_bytes() -> int:
    import psutil

    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _read(path)
        if limit.isdigit():
            return min(total, int(limit))
    return total
