"""An ONNX graph that is open: providers by name, threads from the cgroup, no memory kept back."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.machine import usable_cores
from kd_deploy.runner import Batch, Outputs
from kd_deploy.runtime.freed import freed_to_the_system

SUFFIX = "ExecutionProvider"


class OrtRunner:
    """An onnxruntime session behind the Runner protocol."""

    def __init__(self, graph: Path, *, provider: str = "cpu", threads: int | None = None) -> None:
        """Open a graph.

        Args:
            graph: An .onnx file.
            provider: cpu, cuda, or any other that this onnxruntime has; no other one ever runs instead.
            threads: Threads of one run. None: the cores that this process may use.

        Raises:
            BenchmarkError: The provider is not there, or does not start.
            BundleError: The file is not a graph that this onnxruntime can open.
        """
        self._session = open_session(graph, provider=provider, threads=threads)
        self._input_names = tuple(one.name for one in self._session.get_inputs())
        self._output_names = [one.name for one in self._session.get_outputs()]
        self._input_types = {one.name: str(one.type) for one in self._session.get_inputs()}

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that the graph takes."""
        return self._input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the arrays that the graph gives."""
        return tuple(self._output_names)

    @property
    def input_types(self) -> Mapping[str, str]:
        """What onnxruntime calls the types of the arrays that the graph takes."""
        return self._input_types

    def run(self, batch: Batch) -> Outputs:
        """One forward pass over a padded batch [B, S]."""
        values = self._session.run(self._output_names, dict(batch))
        return {name: np.asarray(value) for name, value in zip(self._output_names, values, strict=True)}

    def close(self) -> None:
        """Free the session."""
        del self._session


def open_session(graph: Path, *, provider: str, threads: int | None) -> ort.InferenceSession:
    """The session of a graph; the arguments and the errors are those of OrtRunner."""
    wanted = find_provider(provider)
    if wanted == f"CUDA{SUFFIX}":
        _load_cuda()
    try:
        with freed_to_the_system():
            session = ort.InferenceSession(str(graph), session_options(threads), providers=[wanted])
    except Exception as error:  # onnxruntime's own exceptions share no base but Exception
        raise BundleError(
            f"onnxruntime {ort.__version__} cannot open {graph}: {str(error).splitlines()[0]}",
            hint="export again, with a lower opset where it is too new",
        ) from error
    started = session.get_providers()[0]
    if started != wanted:
        raise BenchmarkError(
            f"{wanted} did not start, onnxruntime fell back to {started}",
            hint=_start_hint(provider),
        )
    return session


def _load_cuda() -> None:
    """Load CUDA and cuDNN as pip installs them, where the system's loader does not look."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; whether it matters shows later
        ort.preload_dlls()


def _start_hint(provider: str) -> str:
    if provider.lower() == "cuda":
        return "pip install 'onnxruntime-gpu[cuda,cudnn]' brings CUDA and cuDNN; the driver is the system's"
    return "kd-deploy doctor shows what this machine has"


def session_options(threads: int | None) -> ort.SessionOptions:
    """Options that give memory back and leave idle cores idle.

    The arena and the memory pattern keep the largest shape ever seen (onnxruntime issues 11627 and 9313);
    spinning threads take the cores of whoever shares the container.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def available_providers() -> tuple[str, ...]:
    """The short names of the providers in this onnxruntime, as `--providers` takes them."""
    return tuple(_short(name) for name in _local_providers())


def find_provider(name: str) -> str:
    """The full name of a provider, whatever its case.

    Raises:
        BenchmarkError: This build of onnxruntime does not have it.
    """
    for full in _local_providers():
        if name.lower() in (_short(full), full.lower()):
            return str(full)
    raise BenchmarkError(
        f"provider {name!r} is not in this onnxruntime build, which has: {', '.join(available_providers())}",
        hint=_provider_hint(name, available_providers()),
    )


def _local_providers() -> list[str]:
    # Azure's answers from somebody else's machine, and only graphs made for it.
    return [str(name) for name in ort.get_available_providers() if name != f"Azure{SUFFIX}"]


def _short(full: str) -> str:
    return full.removesuffix(SUFFIX).lower()


def _provider_hint(name: str, have: Sequence[str]) -> str:
    if name.lower() in ("cuda", "tensorrt"):
        return "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu"
    return f"choose one of: {', '.join(have)}"
