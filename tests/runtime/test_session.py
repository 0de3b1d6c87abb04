"""Opening a graph: its provider, its threads, and what is no graph."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from kd_deploy import machine, runtime
from kd_deploy.bundle import Bundle, graph_file
from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.runtime.session import OrtRunner, available_providers, find_provider, session_options


@pytest.mark.parametrize("name", ["tpu", "CUDA", ""])
def test_a_provider_that_is_not_there_is_named_with_those_that_are(
    bilstm: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["DmlExecutionProvider", "CPUExecutionProvider"])

    with pytest.raises(BenchmarkError, match=f"provider '{name}'.*dml, cpu") as caught:
        runtime.load(bilstm, provider=name)
    assert ("pip" in caught.value.hint) == (name == "CUDA")


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider", "cpuexecutionprovider"])
def test_a_provider_goes_by_either_name(name: str) -> None:
    assert find_provider(name) == "CPUExecutionProvider"
    assert "cpu" in available_providers()


def test_a_provider_that_does_not_start_is_no_silent_run_on_the_cpu(
    bilstm: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(ort.InferenceSession, "get_providers", lambda _: ["CPUExecutionProvider"])
    real = ort.InferenceSession

    def started(graph: str, options: ort.SessionOptions, **_: object) -> ort.InferenceSession:
        return real(graph, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", started)

    with pytest.raises(BenchmarkError, match="CUDAExecutionProvider did not start"):
        runtime.load(bilstm, provider="cuda")


@pytest.mark.parametrize(("quota", "threads"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 6), ("", 6)])
def test_threads_are_the_cores_of_the_cgroup(monkeypatch: pytest.MonkeyPatch, quota: str, threads: int) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(machine, "_read", lambda path: quota if path.endswith("cpu.max") else "")

    assert session_options(None).intra_op_num_threads == threads
    assert session_options(3).intra_op_num_threads == 3


def test_memory_and_idle_cores_are_given_back() -> None:
    options = session_options(1)

    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 9])
def test_what_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(BundleError, match=r"cannot open .*model\.onnx"):
        OrtRunner(path)


def test_a_run_maps_named_arrays_to_named_arrays(bert: Bundle) -> None:
    runner = OrtRunner(bert.graph("fp32"), threads=1)
    ids = np.array([[2, 7, 3]], dtype=np.int64)

    outputs = runner.run({name: ids if name == "input_ids" else np.ones_like(ids) for name in runner.input_names})
    runner.close()

    assert runner.input_names == ("input_ids", "attention_mask", "token_type_ids")
    assert list(outputs) == ["logits"]
    assert (outputs["logits"].shape, outputs["logits"].dtype) == ((1, 2), np.float32)
    assert graph_file("fp32") == "onnx/model.onnx"


def test_a_provider_that_asks_somebody_elses_machine_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"])
    assert available_providers() == ("cpu",)
