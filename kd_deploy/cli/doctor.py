"""`kd-deploy doctor`: what this machine is, and what that means."""

import sys
from collections.abc import Iterator
from dataclasses import asdict

from kd_deploy.cli.output import AsJson, Quiet, emit
from kd_deploy.machine import Machine, installed_versions, this_machine

EXTRAS = {"distill": ("torch", "transformers"), "export": ("torch", "onnx")}


def command(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Show the CPU features, cores, memory, training device, providers and versions that matter here."""
    from kd_deploy.runtime.session import available_providers

    machine, versions, providers = this_machine(), installed_versions(), available_providers()
    python = ".".join(map(str, sys.version_info[:3]))
    training = _training() if "torch" in versions else None
    value = {
        "machine": asdict(machine),
        "training": training,
        "providers": list(providers),
        "python": python,
        "versions": versions,
    }
    lines = [
        *_machine_lines(machine),
        *_training_lines(training),
        *_provider_lines(providers),
        *_version_lines(python, versions),
    ]
    emit(value, as_json=as_json, lines=lines)


def _training() -> dict[str, str]:
    """Where models are trained here, and the number format of transformers."""
    from kd_deploy.distill.precision import device_name, has_bf16

    return {"device": device_name(), "format": "bf16" if has_bf16() else "fp32"}


def _training_lines(training: dict[str, str] | None) -> Iterator[str]:
    if training is None:
        return
    yield f"training: on {training['device']}"
    if training["format"] == "bf16":
        yield "  bf16 runs in hardware: transformer training uses it"
    else:
        yield "  no bf16 in hardware that training uses: it stays in fp32"


def _machine_lines(machine: Machine) -> Iterator[str]:
    yield f"cpu: {machine.cpu}"
    yield f"features: {', '.join(machine.features) or 'none that we use'}"
    if machine.has_vnni:
        yield "  int8 products run in hardware at full range; kd-deploy benchmark says what int8 gains for your model"
    else:
        yield "  no VNNI: int8 weights are cut to 7 bits (reduce_range) and gain less speed"
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
