"""What a process needs to hold a graph: what is freed on the way does not stay with it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WIDTH, LAYERS = 512, 24  # of 1 MiB each
OWN = """
import sys, psutil
import kd_deploy.runtime
from kd_deploy.runtime.session import open_session
from pathlib import Path
before = psutil.Process().memory_full_info().uss
session = open_session(Path(sys.argv[1]), provider="cpu", threads=1)
print(psutil.Process().memory_full_info().uss - before)
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = ["input", *(f"hidden{layer}" for layer in range(LAYERS))]
    weights = [
        numpy_helper.from_array(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), f"weight{layer}")
        for layer in range(LAYERS)
    ]
    nodes = [
        helper.make_node("MatMul", [before, weight.name], [after])
        for before, weight, after in zip(names, weights, names[1:], strict=False)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", WIDTH]) for name in (names[0], names[-1])]
    made = helper.make_graph(nodes, "layers", ends[:1], ends[1:], weights)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def own_bytes(graph: Path, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", OWN, str(graph)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its allocator is what is set")
def test_weights_that_were_read_and_packed_anew_leave_no_holes_behind(graph: Path) -> None:
    size = graph.stat().st_size

    ours, own_setting = own_bytes(graph), own_bytes(graph, MALLOC_MMAP_THRESHOLD_=str(32 * 2**20))

    assert ours < own_setting - size / 8  # who sets the threshold is left alone
