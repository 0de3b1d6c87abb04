"""A student's graph next to the student itself, over every shape and both sides of padding."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnxruntime
import torch
from torch import nn
from torch.testing import assert_close

from kd_deploy.export.graph import export_graph
from kd_deploy.export.parity import TOLERANCE, Shapes, cases
from kd_deploy.export.quantize import PLANS, quantize
from kd_deploy.tasks.task import Task

ENTRIES = 50
SHAPES = Shapes(vocabulary_size=ENTRIES, max_length=24, pad_id=0)


def check_parity(model: Any, target: Path, *, level: str, outputs: tuple[str, ...]) -> None:
    """Write a model's graph, and hold what it says, at padding aside, against the model."""
    task = SimpleNamespace(NAME="any", LEVEL=level, ANSWERS="classes", OUTPUTS=outputs)
    export_graph(model, target, task=cast("Task", task), inputs=model.input_names, opset=17, checkpoint=target.parent)
    session = onnxruntime.InferenceSession(target)
    for case in cases(SHAPES):
        batch = {name: case.batch[name] for name in model.input_names}
        tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
        with torch.no_grad():
            shown = model(**tensors)
        for name, values in zip(outputs, session.run(list(outputs), batch), strict=True):
            expected, found = getattr(shown, name), torch.from_numpy(values)
            assert found.shape == expected.shape, case.name
            if level != "text":
                inside = tensors["attention_mask"] == 1
                expected, found = expected[inside], found[inside]
            assert_close(found, expected, atol=TOLERANCE, rtol=0, msg=case.name)


def check_int8(source: Path, target: Path, *, inputs: tuple[str, ...]) -> dict[str, int]:
    """Which operators of a graph run in int8; each plan gives a graph that answers."""
    batch = next(case.batch for case in cases(SHAPES) if len(case.batch["input_ids"]) == 7)
    for plan in reversed(PLANS):
        done = quantize(source, target, plan=plan, reduce_range=True)
        session = onnxruntime.InferenceSession(target)
        assert all(torch.from_numpy(one).isfinite().all() for one in session.run(None, {k: batch[k] for k in inputs}))
    return done.operators


def without_gradient(model: nn.Module, loss: torch.Tensor) -> list[str]:
    """The parameters that a loss does not move."""
    loss.backward()  # type: ignore[no-untyped-call]
    return [name for name, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
