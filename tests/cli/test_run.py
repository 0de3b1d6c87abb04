"""`run` end to end: what it writes, what it does again, what it refuses."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.files import locked
from kd_deploy.report.document import report_schema
from tests.cli.conftest import Cli, read_json, small_recipe, write_recipe


def test_a_run_writes_teacher_student_control_and_three_reports(ran: Path) -> None:
    for name in ("teacher", "student", "control"):
        Bundle.open(ran / name).verify()
    assert {path.name for path in ran.glob("report.*")} == {"report.html", "report.md", "report.json"}
    assert (ran / "recipe.resolved.yaml").is_file()


def test_the_report_is_valid_and_has_every_target(ran: Path) -> None:
    report = read_json(ran / "report.json")

    jsonschema.validate(report, report_schema())
    names = [target["name"] for target in report["targets"]]
    assert names == ["teacher", "teacher-int8", "control", "student", "student-fp32", "student-int8"]
    assert {one["target"] for one in report["comparison"]} == set(names) - {"teacher"}
    assert report["differences"][0]["control"] == "control"


def test_a_length_beyond_the_model_is_null_with_a_reason(ran: Path) -> None:
    report = read_json(ran / "report.json")

    long = [one for target in report["targets"] for one in target["latency"] if one["sequence_length"] == 64]
    assert len(long) == len(report["targets"])
    assert all(one["p50_ms"] is None and one["reason"] for one in long)


def test_the_student_keeps_the_order_of_the_labels(ran: Path) -> None:
    teacher, student = Bundle.open(ran / "teacher"), Bundle.open(ran / "student")
    assert student.manifest.labels == teacher.manifest.labels == tuple(sorted(teacher.manifest.labels))


def test_torch_fp32_and_onnx_fp32_answer_alike_on_the_test_rows(ran: Path) -> None:
    targets = {one["target"]["name"]: one for one in read_json(ran / "evaluation.json")["targets"]}
    assert targets["student"]["predictions"] == targets["student-fp32"]["predictions"]


def test_a_second_call_does_nothing_again(ran: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("model*")}

    outcome = cli("run", copied / "recipe.resolved.yaml", "--output", copied)

    assert outcome.code == 0
    for stage in ("teacher", "student", "control", "export-teacher", "export-student", "evaluate"):
        assert f"{stage}: nothing changed, reused" in outcome.err
    assert before == {path: path.stat().st_mtime_ns for path in copied.rglob("model*")}


def test_a_changed_bundle_is_noticed_and_made_again(ran: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "again")
    graph = copied / "student" / "onnx" / "model.onnx"
    damaged = bytearray(graph.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    graph.write_bytes(damaged)

    outcome = cli("run", copied / "recipe.resolved.yaml", "--output", copied, "--set", "benchmark.rounds=1")

    assert outcome.code == 0
    assert "student: made again" in outcome.err
    Bundle.open(copied / "student").verify()


def test_a_graph_that_is_made_anew_is_judged_anew(ran: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "again")

    outcome = cli("run", copied / "recipe.resolved.yaml", "--output", copied, "--set", "export.opset=18")

    assert outcome.code == 0
    assert "student: nothing changed, reused" in outcome.err
    assert "evaluate: nothing changed" not in outcome.err
    assert "benchmark: nothing changed" not in outcome.err


def test_a_missed_gate_is_exit_10_and_the_report_is_there(ran: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "again")
    (copied / "report.json").unlink()

    outcome = cli("run", copied / "recipe.resolved.yaml", "--output", copied, "--set", "report.gates.max_size_mb=0.001")

    assert outcome.code == 10
    assert "student-int8: max_size_mb is" in outcome.err
    assert "report.json" in outcome.out  # the table came first
    assert read_json(copied / "report.json")["gates"][0]["passed"] is False


def test_a_second_writer_is_refused_at_once(ran: Path, cli: Cli) -> None:
    with locked(ran):
        outcome = cli("run", ran / "recipe.resolved.yaml", "--output", ran)

    assert outcome.code == 2
    assert "another kd-deploy process is writing" in outcome.err


def test_a_folder_that_is_not_ours_is_left_alone(desk: Path, cli: Cli, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("mine", encoding="utf-8")

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", small_recipe(desk)), "--output", theirs)

    assert outcome.code == 2
    assert [path.name for path in theirs.iterdir()] == ["thesis.txt"]


def test_a_run_for_another_task_is_not_replaced(ran: Path, desk: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "again")
    recipe = small_recipe(desk, task="fill-mask", student={"architecture": "transformer", "layers": 1})

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", recipe), "--output", copied)

    assert outcome.code == 2
    assert "holds a run for text-classification, and this recipe is for fill-mask" in outcome.err


@pytest.mark.parametrize(
    ("distill", "code", "told"),
    [
        ({"objective": [{"term": "decoupled"}]}, 3, "decoupled needs one label a text"),
        ({"objective": [{"term": "soft_targets", "standardise": True}]}, 3, "standardise"),
        ({"report_to": ["mlflow"]}, 9, "mlflow"),
    ],
)
def test_what_the_labels_do_not_allow_is_refused_before_a_teacher_is_trained(
    distill: dict[str, object], code: int, told: str, cli: Cli, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"some text {row},a|b\nmore text {row},a\n" for row in range(30)]
    rows.write_text("text,labels\n" + "".join(lines), encoding="utf-8")
    recipe = small_recipe(tmp_path, data={"train": str(rows), "max_length": 16}, distill=distill)

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", recipe), "--output", tmp_path / "out")

    assert (outcome.code, told in outcome.err) == (code, True), outcome.err
    assert not (tmp_path / "out" / "teacher").exists()


def test_every_fault_of_a_recipe_is_listed_at_once(desk: Path, cli: Cli, tmp_path: Path) -> None:
    document = small_recipe(desk, student={"architecture": "bilstm", "hiden_size": 3}, export={"precisions": ["int3"]})
    del document["version"]

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", document), "--output", tmp_path / "out")

    assert outcome.code == 3
    for part in ("version: missing", "did you mean 'hidden_size'?", "export.precisions.0", "3 faults"):
        assert part in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"data": {"train": "no-such.jsonl"}}, 4, "no-such.jsonl"),
        ({"data": {}}, 3, "data.train"),
        ({"teacher": {"model": "./no-such-model"}}, 8, "no-such-model"),
        ({"teacher": None}, 3, "teacher"),
    ],
)
def test_what_is_missing_is_named(
    change: dict[str, object], code: int, told: str, desk: Path, cli: Cli, tmp_path: Path
) -> None:
    outcome = cli(
        "run", write_recipe(tmp_path / "recipe.yaml", small_recipe(desk, **change)), "--output", tmp_path / "o"
    )

    assert outcome.code == code
    assert told in outcome.err
    assert "hint:" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "o").exists()


def test_a_student_that_does_not_fit_is_refused_before_the_teacher_is_trained(
    desk: Path, cli: Cli, tmp_path: Path
) -> None:
    student = {"architecture": "transformer", "layers": 9}
    recipe = write_recipe(tmp_path / "recipe.yaml", small_recipe(desk, student=student))

    outcome = cli("run", recipe, "--output", tmp_path / "out")

    assert outcome.code == 3
    assert "more than the teacher's 2" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_key_given_twice_is_an_error(cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\ntask: text-classification\ndata: {seed: 1, seed: 2}\n", encoding="utf-8")

    outcome = cli("run", recipe)

    assert outcome.code == 3
    assert "recipe.yaml:3 has the key 'seed' for the second time" in outcome.err


def test_ctrl_c_is_130_and_the_run_resumes(desk: Path, cli: Cli, tmp_path: Path) -> None:
    document = small_recipe(desk)
    document["teacher"]["finetune"]["epochs"] = 60
    recipe, out = write_recipe(tmp_path / "recipe.yaml", document), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "kd_deploy", "run", str(recipe), "--output", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A shell that starts the tests in the background has them, and their children, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "teacher: epoch 2" in line:
            break
    process.send_signal(signal.SIGINT)
    too_late = threading.Timer(120, process.kill)
    too_late.start()
    rest = process.stderr.read()
    too_late.cancel()
    assert process.wait(timeout=60) == 130, rest
    assert "Traceback" not in rest
    assert not (out / "teacher").exists()

    outcome = cli("run", recipe, "--output", out, "--set", "benchmark.rounds=1")

    assert outcome.code == 0, outcome.err
    assert "going on from checkpoint-" in outcome.err


def pair_row(text: str, label: str) -> dict[str, object]:
    return {"text": text, "text_pair": "a request to the desk", "label": label}


def several_row(text: str, label: str) -> dict[str, object]:
    return {"text": text, "labels": [label, "long"] if len(text) > 60 else [label]}


@pytest.mark.parametrize(("make", "metric"), [(pair_row, "accuracy"), (several_row, "f1")])
def test_pairs_and_several_labels_go_the_whole_way(
    make: Callable[[str, str], dict[str, object]], metric: str, desk: Path, cli: Cli, tmp_path: Path
) -> None:
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (desk / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        lines = [json.dumps(make(row["text"], row["label"])) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = small_recipe(tmp_path, student={"architecture": "transformer", "layers": 1})
    recipe, out = write_recipe(tmp_path / "recipe.yaml", document), tmp_path / "out"

    outcome = cli("run", recipe, "--output", out, "--quiet")

    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    report = read_json(out / "report.json")
    assert report["main_metric"] == metric
    assert all(metric in target["quality"] for target in report["targets"])
    again = cli("evaluate", out / "student", "--data", tmp_path / "test.jsonl", "--json")
    quality = {target["name"]: target["quality"] for target in report["targets"]}
    assert json.loads(again.out)["targets"][0]["quality"] == quality["student-int8"]
