"""General distillation from its recipe to its report, and a task that starts from its student."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.cli import main
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.observe import word_vectors
from tests import tiny, tiny_tasks
from tests.cli.conftest import Cli, read_json, write_recipe
from tests.report.samples import benchmarked

METRICS = {"masked_accuracy", "pseudo_perplexity"}
ROLES = {"teacher", "student", "control"}


def document(task: str, folder: Path, **sections: Any) -> dict[str, Any]:
    """A recipe that works, with other sections in the place of some."""
    folder.mkdir(exist_ok=True)
    made: dict[str, Any] = tiny_tasks.recipe_of(task, "transformer", folder).model_dump(mode="json", exclude_unset=True)
    return made | sections


def run(recipe: Path, output: Path, cache: Path) -> Path:
    """What a run that succeeds writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(cache))
        # A process for every target takes most of the time of a run, and test_run.py looks at what they measure.
        patch.setattr("kd_deploy.benchmark.run.benchmark", lambda *_, **__: replace(benchmarked(), targets=()))
        with pytest.raises(SystemExit) as stop:
            main(["run", str(recipe), "--output", str(output), "--quiet"])
    assert stop.value.code == 0
    return output


@pytest.fixture(scope="module")
def filled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that fills masks, beside its teacher and its control."""
    folder = tmp_path_factory.mktemp("fill")
    return run(write_recipe(folder / "recipe.yaml", document("fill-mask", folder)), folder / "out", cache)


@pytest.fixture(scope="module")
def classified(filled: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that starts from that student, and learns from that teacher with another head."""
    folder = tmp_path_factory.mktemp("classify")
    finetune = {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3}
    recipe = document(
        "text-classification",
        folder,
        teacher={"model": str(filled / "teacher"), "finetune": finetune},
        student={"architecture": "transformer", "init": str(filled / "student")},
    )
    return run(write_recipe(folder / "recipe.yaml", recipe), folder / "out", cache)


def test_the_report_has_both_metrics_of_teacher_student_and_control(filled: Path) -> None:
    report = read_json(filled / "report.json")

    assert report["task"] == "fill-mask"
    assert {one["role"] for one in report["targets"]} == ROLES
    for one in report["targets"]:
        assert set(one["quality"]) == METRICS
        assert 0 <= one["quality"]["masked_accuracy"] <= 1
        assert one["quality"]["pseudo_perplexity"] >= 1
        assert 0 <= one["agreement"] <= 1
    assert {one["target"] for one in report["comparison"]} >= {"student", "student-int8", "control"}


def test_the_student_is_a_masked_language_model_with_its_mask(filled: Path) -> None:
    student = Bundle.open(filled / "student")
    student.verify()

    assert student.manifest.task == "fill-mask"
    assert student.manifest.labels == ()
    assert read_json(filled / "student" / "config.json")["architectures"] == ["BertForMaskedLM"]
    assert set(student.manifest.metrics) == METRICS


def test_a_gap_is_filled_by_the_command_line_as_in_python(filled: Path, cli: Cli) -> None:
    text = "we saw [MASK] in the [MASK]"

    outcome = cli("predict", filled / "student", text, "--precision", "fp32")

    assert outcome.code == 0
    (line,) = outcome.lines
    told = json.loads(line)
    assert told["text"] == text
    assert len(told["fillings"]) == 2
    assert all(one["score"] >= other["score"] for place in told["fillings"] for one, other in itertools.pairwise(place))
    with runtime.load(filled / "student", precision="fp32") as model:
        assert json.loads(json.dumps(model.to_json(model.predict([text])[0]))) == told


def test_a_task_starts_from_the_student(filled: Path, classified: Path) -> None:
    report = read_json(classified / "report.json")

    assert report["task"] == "text-classification"
    assert {one["role"] for one in report["targets"]} == ROLES
    assert all("accuracy" in one["quality"] for one in report["targets"])
    assert Bundle.open(classified / "student").manifest.labels == tiny.SINGLE.names


def test_its_words_are_those_that_the_student_knew(filled: Path, classified: Path) -> None:
    before, after, teacher = (
        word_vectors(load_model(folder)).weight.detach().flatten()
        for folder in (filled / "student", classified / "student", filled / "teacher")
    )

    near, far = (torch.linalg.vector_norm(after - one) for one in (before, teacher))
    assert near < far / 2
    words = [(folder / "student" / "tokenizer.json").read_text(encoding="utf-8") for folder in (filled, classified)]
    assert words[0] == words[1]


def test_a_part_of_the_vocabulary_is_refused(cli: Cli, tmp_path: Path) -> None:
    student = {"architecture": "transformer", "layers": 1, "vocabulary": 60}
    recipe = write_recipe(tmp_path / "recipe.yaml", document("fill-mask", tmp_path / "rows", student=student))

    outcome = cli("run", recipe, "--output", tmp_path / "out", "--quiet")

    assert outcome.code == 3
    assert "student.vocabulary" in outcome.err
    assert "its entries are what fill-mask answers with: leave it out" in outcome.err
    assert "hint: " in outcome.err
    assert not (tmp_path / "out").exists()
