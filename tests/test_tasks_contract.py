"""What every task and each of its students keeps to, from a recipe to the answers of the command line."""

import io
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.cli import main
from kd_deploy.cli.predict import input_names
from kd_deploy.distill.checkpoints import labels_of
from kd_deploy.distill.opening import open_predictor
from kd_deploy.export.settings import ExportSettings
from kd_deploy.pipeline.export import export_made
from kd_deploy.pipeline.train import distill
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.registry import TASKS, main_metric
from kd_deploy.tasks.splits import read_splits
from kd_deploy.tasks.task import Examples, Readings, Task
from tests import tiny_tasks

FITTING = [(task, student) for task, student in tiny_tasks.FITTING if task in TASKS]
NEAR = 1e-4


@dataclass(frozen=True)
class Made:
    """A bundle with both graphs, the rows it is asked about, and the recipe's files beside it."""

    task: Task
    bundle: Bundle
    test: Examples
    inputs: tuple[TextInput, ...]
    folder: Path


@pytest.fixture(scope="session", params=FITTING, ids="-".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    name, student = request.param
    folder = tmp_path_factory.mktemp("contract")
    recipe = tiny_tasks.recipe_of(name, student, folder, epochs=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(folder / "cache"))
        trained = distill(recipe, folder / "student")
        settings = ExportSettings(precisions=("fp32", "int8"))
        bundle = export_made(trained, folder / "student", settings=settings)
    test = read_splits(recipe.data, task=TASKS[name], teacher=bundle.manifest.labels).test
    assert test is not None
    inputs = (*test.inputs[:10], *TASKS[name].SAMPLE, longer(test.inputs[0]))
    return Made(task=TASKS[name], bundle=bundle, test=test, inputs=inputs, folder=folder)


def longer(one: TextInput) -> TextInput:
    """More than a model reads at once."""
    return " ".join([one] * 30) if isinstance(one, str) else (one[0], " ".join([one[1]] * 30))


def called(*argv: object, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(one) for one in argv])
    told = capsys.readouterr()
    assert stop.value.code == 0, told.err
    return told.out


def assert_alike(left: Readings, right: Readings) -> None:
    """The same pieces of every input, and the same logits of each."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert [(each.piece.input, each.piece.start) for each in one] == [
            (each.piece.input, each.piece.start) for each in other
        ]
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.logits, b.logits, atol=NEAR, rtol=0)


def assert_near(left: Any, right: Any) -> None:
    """The same JSON, but for the last digits of its numbers."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        left, right = list(left.values()), list(right.values())
    if isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_near(one, other)
    elif isinstance(left, float):
        assert left == pytest.approx(right, abs=NEAR)
    else:
        assert left == right


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def answered(made: Made, *, precision: str) -> list[dict[str, object]]:
    with runtime.load(made.bundle, precision=precision) as predictor:
        return [predictor.to_json(one) for one in predictor.predict(made.inputs)]


def test_a_batch_shows_what_its_inputs_show_alone(made: Made) -> None:
    with runtime.load(made.bundle, precision="fp32") as predictor:
        together = predictor.read(made.inputs)
        alone = [predictor.read([one])[0] for one in made.inputs]

    assert_alike(together, alone)


def test_answers_stand_in_the_order_of_the_inputs(made: Made) -> None:
    order = random.Random(0).sample(range(len(made.inputs)), len(made.inputs))
    with runtime.load(made.bundle, precision="fp32") as predictor:
        straight = predictor.read(made.inputs)
        shuffled = predictor.read([made.inputs[row] for row in order])

    assert_alike([straight[row] for row in order], shuffled)


def test_the_torch_half_shows_what_the_graph_shows(made: Made) -> None:
    torch_half = open_predictor(made.bundle.path, max_length=made.bundle.manifest.max_length)
    with torch_half, runtime.load(made.bundle, precision="fp32") as graph:
        assert_alike(torch_half.read(made.inputs), graph.read(made.inputs))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_opened_again_answers_the_same(made: Made, precision: str) -> None:
    assert answered(made, precision=precision) == answered(made, precision=precision)


def test_int8_shows_what_fp32_shows_but_for_rounding(made: Made) -> None:
    with runtime.load(made.bundle) as int8, runtime.load(made.bundle, precision="fp32") as fp32:
        shown, exact = int8.read(made.inputs), fp32.read(made.inputs)
    found = answered(made, precision="int8")
    both = [np.concatenate([one.logits.ravel() for readings in some for one in readings]) for some in (shown, exact)]
    # Of a student whose answers hardly differ, nothing but rounding does.
    assert np.abs(both[0] - both[1]).max() < 0.02 or np.corrcoef(*both)[0, 1] > 0.98

    assert all(np.isfinite(one.logits).all() for readings in shown for one in readings)
    assert len(found) == len(made.inputs)
    assert len({json.dumps(one) for one in found}) > 1
    assert all(math.isfinite(number) for number in numbers(found))


def test_predict_prints_a_json_line_for_each_line_in_order(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(json.dumps(row_of(one, made.task)) + "\n" for one in made.inputs)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))

    out = called("predict", made.bundle.path, "--precision", "fp32", capsys=capsys)

    told = [json.loads(line) for line in out.splitlines()]
    expected = json.loads(json.dumps(answered(made, precision="fp32")))
    assert_near(told, expected)


def test_the_threshold_of_no_answer_is_for_questions_alone(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    if made.task.NAME == "question-answering":
        question, context = made.test.inputs[0]
        out = called("predict", made.bundle.path, question, context, "--no-answer", "1", capsys=capsys)
        assert json.loads(out)["answer"]
        assert json.loads(out)["answer"] in context
        out = called("predict", made.bundle.path, question, context, "--no-answer", "0", capsys=capsys)
        assert json.loads(out)["answer"] == ""
        return
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(made.bundle.path), "--no-answer", "0.5", "a text"])
    assert stop.value.code == 2
    assert f"--no-answer is for question-answering, not for {made.task.NAME}" in capsys.readouterr().err


def row_of(one: TextInput, task: Task) -> dict[str, str]:
    parts: Sequence[str] = (one,) if isinstance(one, str) else one
    names = (*input_names(task), *task.OPTIONAL)[: len(parts)]
    return dict(zip(names, parts, strict=True))


def test_evaluate_gives_the_main_metric(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = () if made.test.answered else ("--against", made.folder / "encoder")

    out = called("evaluate", made.bundle.path, "--data", made.test.source, "--json", *teacher, capsys=capsys)

    told = json.loads(out)
    assert told["main_metric"] == main_metric(made.test)
    assert told["data"]["n"] == len(made.test)
    quality = told["targets"][-1]["quality"]
    assert set(quality) == set(made.bundle.manifest.metrics)
    assert -1 <= quality[told["main_metric"]] <= 1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_manifest_names_the_arrays_of_the_graph(made: Made, precision: str) -> None:
    graph = onnx.load(made.bundle.graph(precision), load_external_data=False).graph

    assert tuple(one.name for one in graph.input) == made.bundle.manifest.inputs
    assert tuple(one.name for one in graph.output) == made.bundle.manifest.outputs
    for one in graph.input:
        assert [axis.dim_param for axis in one.type.tensor_type.shape.dim] == ["batch", "sequence"]
        assert one.type.tensor_type.elem_type == onnx.TensorProto.INT64


def test_labels_are_those_of_the_rows_wherever_they_are_told(made: Made) -> None:
    config = json.loads((made.bundle.path / "config.json").read_text(encoding="utf-8"))
    torch_half = open_predictor(made.bundle.path, max_length=made.bundle.manifest.max_length)
    with torch_half, runtime.load(made.bundle) as graph:
        assert graph.labels == torch_half.labels == made.test.labels
    assert labels_of(made.bundle.path) == made.test.labels
    if made.test.labels.names and made.task.LEVEL != "span":  # other tools know those without being told
        assert tuple(config["id2label"].values()) == made.test.labels.names
