"""One student for two tasks, from its recipe to its answers; and what such recipes may not say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.cli import main
from kd_deploy.report.document import report_schema
from kd_deploy.tasks.task import Examples
from tests import tiny
from tests.cli.conftest import Cli, read_json, write_recipe
from tests.report.samples import benchmarked

SCRATCH = {
    "scratch": {"layers": 1, "hidden_size": 16, "attention_heads": 2, "vocabulary": 200},
    "finetune": {"epochs": 1, "learning_rate": 1.0e-2, "batch_size": 16},
}


def write_rows(path: Path, rows: Examples) -> str:
    lines = []
    for text, ids in zip(rows.inputs, rows.targets, strict=True):
        names = [rows.labels.names[k] for k in ids]
        said = {"labels": names} if rows.labels.is_multi else {"label": names[0]}
        pair = {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
        lines.append(json.dumps(pair | said))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("rows")
    made: dict[str, Any] = {"mood": tiny.single_label, "topic": tiny.multi_label, "pairs": tiny.paired}
    return {
        f"{name}_{split}": write_rows(folder / f"{name}_{split}.jsonl", make(count, seed=seed))
        for name, make in made.items()
        for seed, (split, count) in enumerate({"train": 96, "validation": 32, "test": 40}.items())
    }


def recipe(rows: dict[str, str], **sections: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": 1,
        "task": "text-classification",
        "data": {split: rows[f"mood_{split}"] for split in ("train", "validation", "test")} | {"max_length": 24},
        "teacher": SCRATCH,
        "tasks": {
            "topic": {
                "data": {split: rows[f"topic_{split}"] for split in ("train", "validation", "test")},
                "teacher": SCRATCH,
            }
        },
        "student": {"architecture": "bilstm", "hidden_size": 16, "head_size": 16},
        "distill": {"epochs": 2, "learning_rate": 2.0e-2, "batch_size": 16},
        "export": {"max_accuracy_drop": 0.5},
        "benchmark": {"rounds": 1, "texts": 3, "batch_sizes": [1], "sequence_lengths": [8]},
    }
    return document | sections


@pytest.fixture(scope="module")
def both(rows: dict[str, str], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    path = write_recipe(folder / "recipe.yaml", recipe(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(cache))
        # A process for every target takes most of the time of a run, and test_run.py looks at what they measure.
        patch.setattr("kd_deploy.benchmark.run.benchmark", lambda *_, **__: replace(benchmarked(), targets=()))
        with pytest.raises(SystemExit) as stop:
            main(["run", str(path), "--output", str(folder / "out"), "--quiet"])
    assert stop.value.code == 0
    return folder / "out"


def test_a_run_writes_a_teacher_for_each_task_and_one_student(both: Path) -> None:
    for name in ("teacher", "teacher-topic", "student", "control"):
        Bundle.open(both / name).verify()
    found = Bundle.open(both / "student").manifest

    assert found.labels == tiny.SINGLE.names
    assert found.outputs == ("logits", "logits_topic")
    assert found.tasks["topic"].labels == tuple(sorted(tiny.MULTI.names))
    assert found.tasks["topic"].problem_type == "multi_label_classification"
    assert set(found.graphs["int8"].task_drops) == {"topic"}
    assert found.tasks["topic"].training[0].labelled == 96
    assert Bundle.open(both / "control").manifest.tasks["topic"].teacher is None


def test_the_report_has_the_further_task_beside_its_own_teacher(both: Path) -> None:
    report = read_json(both / "report.json")

    jsonschema.validate(report, report_schema())
    found = [(one["task"], one["target"], one["metric"], one["n"]) for one in report["tasks"]]
    names = ("teacher", "control", "student", "student-fp32", "student-int8")
    assert found == [("topic", name, "f1", 40) for name in names]
    teacher, *others = report["tasks"]
    assert teacher["retained"] is None
    assert all(one["retained"] == pytest.approx(one["quality"] / teacher["quality"]) for one in others)
    assert all(one["retained_low"] <= one["retained"] <= one["retained_high"] for one in others)
    for name in ("report.md", "report.html"):
        assert "Further tasks of the same student" in (both / name).read_text(encoding="utf-8")
    assert any(note.startswith("Task topic: It learned from 96 texts") for note in report["notes"])


def test_a_second_call_does_nothing_again(both: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(both, tmp_path / "again")

    outcome = cli("run", copied / "recipe.resolved.yaml", "--output", copied)

    assert outcome.code == 0
    for stage in ("teacher", "teacher-topic", "student", "control", "export-student", "evaluate", "benchmark"):
        assert f"{stage}: nothing changed, reused" in outcome.err
    further = [line for line in outcome.out.splitlines() if line.startswith("topic ")]
    assert [line.split()[1] for line in further] == ["teacher", "control", "student", "student-fp32", "student-int8"]


def test_each_task_is_answered_and_shown_by_name(both: Path, cli: Cli, rows: dict[str, str]) -> None:
    student = both / "student"

    moods, topics = (json.loads(cli("predict", student, "soup", *task).out) for task in ([], ["--task", "topic"]))
    assert set(moods["scores"]) == set(tiny.SINGLE.names)
    assert set(topics["scores"]) == set(tiny.MULTI.names)
    with runtime.load(student, task="topic") as model:
        assert model.predict(["soup"])[0].scores["food"] == pytest.approx(topics["scores"]["food"], abs=1e-6)
    assert (
        "task topic (multi label classification), output logits_topic: food, music, sport"
        in cli("inspect", student).out
    )
    judged = json.loads(cli("evaluate", student, "--task", "topic", "--data", rows["topic_test"], "--json").out)
    against = ("--against", f"{student}:fp32")
    pair = json.loads(cli("evaluate", student, *against, "--task", "topic", "--data", rows["topic_test"], "--json").out)
    assert [one["name"] for one in pair["targets"]] == ["student-fp32", "student-int8"]
    assert pair["targets"][1]["quality"] == judged["targets"][0]["quality"]
    assert pair["targets"][1]["agreement"] > 0.5
    int8 = next(one for one in read_json(both / "report.json")["tasks"] if one["target"] == "student-int8")
    assert judged["targets"][0]["quality"]["f1"] == pytest.approx(int8["quality"])


def test_an_unknown_task_is_told_what_there_is(both: Path, cli: Cli, rows: dict[str, str]) -> None:
    for called in (
        ("predict", both / "student", "soup", "--task", "topics"),
        ("evaluate", both / "student", "--task", "topics", "--data", rows["topic_test"]),
        ("evaluate", both / "teacher", "--task", "topics", "--data", rows["topic_test"]),
    ):
        outcome = cli(*called)
        assert outcome.code == 2
        assert "the model has no task 'topics'" in outcome.err
        assert "its tasks: main" in outcome.err


def test_distill_alone_makes_the_same_kind_of_bundle(rows: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    document = recipe(rows, distill={"epochs": 1, "batch_size": 16, "learning_rate": 1.0e-2})

    outcome = cli("distill", write_recipe(tmp_path / "recipe.yaml", document), "--output", tmp_path / "made")

    assert outcome.code == 0
    assert "task topic, on validation: accuracy" in outcome.out
    assert list(Bundle.open(tmp_path / "made").manifest.tasks) == ["topic"]
    names = read_json(tmp_path / "made" / "config.json")["id2label"]
    assert list(names.values()) == ["bad", "good", "topic/food", "topic/music", "topic/sport"]


def with_topic(rows: dict[str, str], **changes: Any) -> dict[str, Any]:
    document = recipe(rows)
    document["tasks"]["topic"] |= changes
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": {"main": {"data": {}, "teacher": SCRATCH}}}, "tasks.main (line"),
        ({"tasks": {"To pic": {"data": {}, "teacher": SCRATCH}}}, "tasks.To pic (line"),
        ({"tasks": {"topic": {"data": {"max_length": 9}, "teacher": SCRATCH}}}, "tasks.topic.data.max_length (line"),
        ({"tasks": {"topic": {"dta": {}, "teacher": SCRATCH}}}, "unknown key, did you mean 'data'?"),
        ({"tasks": {"topic": {"data": {}, "teacher": SCRATCH, "weight": 0}}}, "tasks.topic.weight (line"),
        ({"tasks": {"topic": {"data": {}}}}, "tasks.topic.teacher (line"),
        ({"tasks": {"topic": {"data": {}, "teacher": SCRATCH}}}, "tasks.topic: data.train: missing"),
        ({"distill": {"active": {"budget": 10, "rounds": 2}}}, "distill.active chooses what to ask one teacher"),
    ],
)
def test_what_does_not_go_together_is_a_fault_of_the_recipe(
    rows: dict[str, str], cli: Cli, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", recipe(rows, **change))

    outcome = cli("run", path, "--output", tmp_path / "out")

    assert outcome.code == 3
    assert said in outcome.err
    assert not (tmp_path / "out" / "teacher").exists()


def test_pairs_beside_single_texts_are_refused(rows: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    pairs = {split: rows[f"pairs_{split}"] for split in ("train", "validation")}
    path = write_recipe(tmp_path / "recipe.yaml", with_topic(rows, data=pairs))

    outcome = cli("run", path, "--output", tmp_path / "out")

    assert outcome.code == 4
    assert "tasks.topic: " in outcome.err
    assert "has pairs of texts, " in outcome.err


def test_a_further_task_may_not_look_into_a_teacher_on_a_server(rows: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    served = {"scratch": SCRATCH["scratch"], "endpoint": {"url": "http://127.0.0.1:1", "protocol": "oip", "model": "m"}}
    document = with_topic(rows, teacher=served) | {
        "student": {"architecture": "transformer", "layers": 1},
        "distill": {"objective": [{"term": "hidden", "layers": "top"}]},
    }

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", document), "--output", tmp_path / "out")

    assert outcome.code == 3
    assert "tasks.topic: distill.objective: the term hidden looks into the teacher" in outcome.err


def test_a_report_on_two_runs_keeps_their_further_tasks_apart(both: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(both, tmp_path / "again")

    outcome = cli("report", both, copied, "--output", tmp_path / "made", "--formats", "json")

    assert outcome.code == 0
    found = [one["target"] for one in read_json(tmp_path / "made" / "report.json")["tasks"]]
    assert (found[0], found[5]) == ("out/teacher", "again/teacher")
    assert len(found) == 10
