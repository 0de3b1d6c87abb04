"""One graph for several tasks: an output for each, equal to torch in every form, answered by name."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from torch import nn

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.distill.bundling import Outcome, write_bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.opening import open_predictor
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.errors import ExportError, GateError, UsageError
from kd_deploy.export.bundle import export_bundle
from kd_deploy.export.outputs import split_outputs
from kd_deploy.export.settings import ExportSettings
from kd_deploy.manifest import Lineage, TaskRecord
from kd_deploy.recipe import Student, TransformerStudent
from kd_deploy.runtime.loading import heads_of
from kd_deploy.runtime.open import open_onnx
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.heads import joint_labels, lay_out
from tests import tiny

HEADS = lay_out(tiny.SINGLE, {"topic": tiny.MULTI})
TOPIC = TaskRecord(labels=tiny.MULTI.names, problem_type=tiny.MULTI.problem_type, output="logits_topic")
ROWS = {"main": tiny.single_label(24, seed=4), "topic": tiny.multi_label(24, seed=4)}
KINDS: dict[str, Student] = {"bert": TransformerStudent(layers=2), "bilstm": tiny.BILSTM}


def made(folder: Path, checkpoint: Path, kind: str) -> Bundle:
    teacher = load_model(checkpoint)
    student = build_student(
        KINDS[kind], teacher=teacher, teacher_folder=checkpoint, labels=joint_labels(HEADS), seed=0
    ).eval()
    with_weight(student)
    return write_bundle(
        folder,
        student,
        labels=tiny.SINGLE,
        max_length=tiny.MAX_LENGTH,
        tokenizer_from=checkpoint,
        lineage=Lineage(),
        outcome=Outcome(metrics={}, tasks={"topic": TOPIC}),
    )


def with_weight(student: nn.Module) -> None:
    student.classifier.weight.data *= 30  # type: ignore[union-attr, operator]


def exported(source: Bundle, output: Path, **settings: Any) -> Bundle:
    model = load_model(source.path)
    chosen = ExportSettings(**({"precisions": ("fp32", "int8")} | settings))
    return export_bundle(
        source, output, model=model, runner=TorchRunner(model, heads=heads_of(source)), settings=chosen
    )


@pytest.fixture(scope="module", params=list(KINDS))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """A student of two tasks in fp32 and int8."""
    folder = tmp_path_factory.mktemp(request.param)
    source = made(folder / "made", checkpoint, request.param)
    further = {"topic": ROWS["topic"]}
    return exported(source, folder / "out", max_accuracy_drop=0.9, examples=ROWS["main"], further=further)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_graph_has_an_output_for_each_task(both: Bundle, precision: str) -> None:
    graph = onnx.load(both.graph(precision)).graph

    shapes = {
        one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in graph.output
    }
    assert shapes == {"logits": ["batch", 2], "logits_topic": ["batch", 3]}
    assert both.manifest.outputs == tuple(shapes)


@pytest.mark.parametrize("task", ["main", "topic"])
def test_every_form_answers_every_task_as_torch_does(both: Bundle, task: str) -> None:
    inputs = ROWS[task].inputs
    all_logits = TorchRunner(load_model(both.path))
    with open_predictor(both.path, max_length=tiny.MAX_LENGTH) as torch_half:
        wanted = torch_half.task(task).logits(inputs)
        assert torch_half.tasks == ("main", "topic")
        encoded = [torch_half._encoder.encode(inputs[0])]
        batch = torch_half._encoder.collate(encoded, input_names=all_logits.input_names)
    with runtime.load(both, precision="fp32", task=task) as fp32:
        assert_allclose(fp32.logits(inputs), wanted, atol=2e-4)
    with runtime.load(both, precision="int8", task=task) as int8:
        assert np.corrcoef(int8.logits(inputs).ravel(), wanted.ravel())[0, 1] > 0.98

    assert_allclose(all_logits.run(batch)["logits"][:, HEADS[task].columns], wanted[:1], atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.05


def test_one_session_answers_all_tasks(both: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    real = OrtRunner.__init__

    def counted(self: OrtRunner, graph: Path, **named: Any) -> None:
        opened.append(graph)
        real(self, graph, **named)

    monkeypatch.setattr(OrtRunner, "__init__", counted)
    with runtime.load(both) as model:
        topics = model.task("topic")
        assert set(model.predict(["a great film"])[0].scores) == set(tiny.SINGLE.names)
        assert set(topics.predict(["the soup"])[0].scores) == set(tiny.MULTI.names)
        assert topics.labels.is_multi
        assert topics.task("main").labels == tiny.SINGLE

    assert len(opened) == 1


def test_an_unknown_task_is_refused_with_those_that_are_there(both: Bundle) -> None:
    with pytest.raises(UsageError, match="no task 'topics'") as caught:
        runtime.load(both, task="topics")

    assert caught.value.hint == "its tasks: main, topic"


def test_the_bare_file_beside_its_bundle_answers_all_tasks(both: Bundle) -> None:
    graph = both.graph("fp32")

    with open_onnx(str(graph), tiny.MAX_LENGTH, "cpu", None) as bare, runtime.load(both, precision="fp32") as model:
        assert_allclose(bare.logits(["a film"]), model.logits(["a film"]))
        assert_allclose(bare.task("topic").logits(["a film"]), model.task("topic").logits(["a film"]))


def test_the_bundle_says_what_int8_costs_each_task(both: Bundle) -> None:
    record = both.manifest.graphs["int8"]

    assert set(record.task_drops) == {"topic"}
    assert ", topic " in record.steps[-1]
    assert 'model.task("topic")' in (both.path / "README.md").read_text(encoding="utf-8")
    both.verify()


def test_the_gate_holds_for_every_task(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(tmp_path / "made", checkpoint, "bilstm")
    judged: list[int] = []

    def metric(predictor: Any, examples: Any) -> float:
        judged.append(len(predictor.labels.names))
        return 1.0 if len(judged) <= 2 or examples is ROWS["main"] else 0.5  # int8 loses half of the topics

    monkeypatch.setattr("kd_deploy.export.bundle.main_metric_of", metric)
    monkeypatch.setattr("kd_deploy.export.gate.main_metric_of", metric)
    with pytest.raises(GateError, match=r"drop \+0\.0000, topic \+0\.5000"):
        exported(
            source, tmp_path / "out", max_accuracy_drop=0.1, examples=ROWS["main"], further={"topic": ROWS["topic"]}
        )

    assert not (tmp_path / "out").exists()


def test_an_output_that_differs_is_found(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(tmp_path / "made", checkpoint, "bilstm")

    def swapped(path: Path, heads: Any) -> None:
        split_outputs(path, heads)
        model = onnx.load(path)
        bias = next(one for one in model.graph.initializer if one.name.endswith("classifier.bias"))
        values = onnx.numpy_helper.to_array(bias).copy()
        values[-1] += 1  # of the further task alone
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(model, path)

    monkeypatch.setattr("kd_deploy.export.bundle.split_outputs", swapped)
    with pytest.raises(ExportError, match="does not answer like the torch model"):
        exported(source, tmp_path / "out", precisions=("fp32",))
