"""An ONNX graph of a model that writes: its caches stay where they were made, on the host or on a device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from kd_deploy.errors import BundleError
from kd_deploy.runtime.session import open_session

Array = NDArray[np.generic]
Value: TypeAlias = "Array | ort.OrtValue"  # on the host; on a device
DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}  # all others work in host memory


class Graph:
    """An open graph. What it gives can be given back to it without a copy: onnxruntime lends its own memory."""

    def __init__(self, path: Path, *, provider: str = "cpu", threads: int | None = None) -> None:
        """Open a graph.

        Args:
            path: An .onnx file.
            provider: cpu, cuda, or any other that this onnxruntime has; no other one ever runs instead.
            threads: Threads of one run. None: the cores that this process may use.

        Raises:
            BenchmarkError: The provider is not there, or does not start.
            BundleError: The file is not a graph that this onnxruntime can open.
        """
        self._session = open_session(path, provider=provider, threads=threads)
        self._device = DEVICES.get(self._session.get_providers()[0])
        self._path = path
        self._shapes = {one.name: one.shape for one in self._session.get_inputs()}
        self._halves = {one.name for one in self._session.get_inputs() if one.type == "tensor(float16)"}
        self.input_names = tuple(self._shapes)
        self.with_defaults = frozenset(one.name for one in self._session.get_overridable_initializers())
        self.output_names = tuple(one.name for one in self._session.get_outputs())

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value]) -> list[Value]:
        """These outputs, in this order, for the inputs of the graph; feeds that it does not know are left aside."""
        known = {name: feeds[name] for name in (*self.input_names, *(self.with_defaults & feeds.keys()))}
        if self._device is None:
            return list(self._session.run(list(outputs), known))
        binding = self._session.io_binding()
        for name, value in known.items():
            there = ort.OrtValue.ortvalue_from_numpy(value) if isinstance(value, np.ndarray) else value
            binding.bind_ortvalue_input(name, there)
        for name in outputs:
            binding.bind_output(name, self._device)
        self._session.run_with_iobinding(binding)
        return list(binding.get_outputs())

    def empty(self, name: str, rows: int) -> Array:
        """A cache with nothing in it yet, [rows, heads, 0, width], for an input of the graph.

        Raises:
            BundleError: The graph does not say how large its cache is.
        """
        _, heads, _, width = self._shapes[name]
        if not isinstance(heads, int) or not isinstance(width, int):
            raise BundleError(f"{self._path} leaves heads and width of {name} open", hint="export again with kd-deploy")
        return np.zeros((rows, heads, 0, width), dtype=np.float16 if name in self._halves else np.float32)

    def taken(self, value: Value, rows: Sequence[int], *, columns: slice, axis: int) -> Value:
        """These rows of an array, and of them these columns along an axis, as a copy where the graph works."""
        cut: tuple[Any, ...] = (np.asarray(rows), *[slice(None)] * (axis - 1), columns)
        found = np.ascontiguousarray(on_host(value)[cut])
        return found if self._device is None else ort.OrtValue.ortvalue_from_numpy(found, self._device)

    def close(self) -> None:
        """Free the session."""
        del self._session


def on_host(value: Value) -> Array:
    """An array of numpy, copied only where it is on a device."""
    found: Array = value if isinstance(value, np.ndarray) else value.numpy()
    return found


def is_identity(rows: Sequence[int], count: int) -> bool:
    """Whether all rows of a batch are kept as they stand."""
    return len(rows) == count and all(place == row for place, row in enumerate(rows))
