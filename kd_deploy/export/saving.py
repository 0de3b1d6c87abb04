"""Graphs on disk: one file each, and a second one with the weights where one cannot hold them."""

from pathlib import Path

import onnx

from kd_deploy.bundle import data_beside

MOST_BYTES = 2 * 1024**3 - 2**24  # of weights in one protobuf file, which ends at 2 GB with all else that is in it
SMALL_BYTES = 1024  # constants of this size stay in the graph, where shapes are read from them


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph in place of what was there.

    Weights beyond 2 GB go into PATH_data, the one name that other tools look for; `model` has let go of them then.
    """
    remove_graph(path)
    if not is_large(model):
        onnx.save(model, path)
        return
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data_beside(path).name,
        size_threshold=SMALL_BYTES,
    )
    data_beside(path).chmod(path.stat().st_mode)  # onnx lets nobody else read it


def remove_graph(path: Path) -> None:
    """Remove a graph and the file with its weights, where they are there."""
    for one in (path, data_beside(path)):
        one.unlink(missing_ok=True)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights that a graph holds are too much for one file."""
    return sum(len(one.raw_data) for one in model.graph.initializer) >= MOST_BYTES


def is_in_two_files(graph: onnx.GraphProto) -> bool:
    """Whether the weights of a graph, read without them, lie in another file."""
    return any(one.data_location == onnx.TensorProto.EXTERNAL for one in graph.initializer)
