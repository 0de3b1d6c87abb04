"""`kd-deploy doctor`: what this machine is, and what that means."""

import sys
from collections.abc import Iterator
from dataclasses import asdict

from kd_deploy.cli.output import AsJson, Quiet, emit
from kd_deploy.machine import Machine, installed_versions, this_machine

EXTRAS = {"distill": ("torch", "transformers"), "export": ("torch", "onnx")}


def command(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Show the CPU features, cores, memory, providers and versions that matter here."""
    from kd_deploy.runtime.session import available_providers

    machine, versions, providers = this_machine(), installed_versions(), available_providers()
    python = ".".join(map(str, sys.version_info[:3]))
    value = {"machine": asdict(machine), "providers": list(providers), "python": python, "versions": versions}
    lines = [*_machine_lines(machine), *_provider_lines(providers), *_version_lines(python, versions)]
    emit(value, as_json=as_json, lines=lines)


def _machine_lines(machine: Machine) -> Iterator[str]:
    yield f"cpu: {machine.cpu}"
    yield f"features: {', '.join(machine.features) or 'none that we use'}"
    if machine.has_vnni:
        yield "  int8 products run in hardware at full range; kd-deploy benchmark says what int8 gains for your model"
    else:
        yield "  no VNNI: int8 weights are cut to 7 bits (reduce_range) and gain less speed"
    yield (
        "  bf16 runs in hardware: transformer training uses it"
        if machine.has_bf16
        else "  no bf16 in hardware: training stays in fp32"
    )
    yield f"cores: {machine.cores} (affinity and cgroup), the default number of threads"
    yield f"memory: {machine.memory_bytes / 2**30:.1f} GiB"


def _provider_lines(providers: tuple[str, ...]) -> Iterator[str]:
    yield f"onnxruntime providers: {', '.join(providers)}"
    if "cuda" not in providers:
        yield "  no cuda here: --providers cuda is an error, never a silent run on the CPU"


def _version_lines(python: str, versions: dict[str, str]) -> Iterator[str]:
    yield f"python {python}, " + ", ".join(f"{name} {version}" for name, version in versions.items())
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if name not in versions]
        if missing:
            yield f"  without {', '.join(missing)}: pip install 'kd-deploy[{extra}]' to {extra}"
