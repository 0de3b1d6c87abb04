"""What lies there already: other precisions, somebody's files, what an interrupted run left, models of one name."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.cli.predict import read_lines
from kd_deploy.data.reading import read_table
from kd_deploy.distill import job
from kd_deploy.errors import ExportError, UsageError
from kd_deploy.manifest import TaskName
from kd_deploy.pipeline import running
from kd_deploy.report import html
from kd_deploy.tasks.registry import TASKS
from tests.cli.conftest import Cli, read_json


@pytest.fixture
def copied(ran: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran, tmp_path / "copied"))


def again(cli: Cli, run: Path, *settings: str) -> tuple[int, str]:
    options = [word for one in settings for word in ("--set", one)]
    told = cli("run", run / "recipe.resolved.yaml", "--output", run, *options)
    return told.code, told.err


def test_export_in_place_keeps_the_other_precisions(copied: Path, cli: Cli) -> None:
    before = Bundle.open(copied / "student")
    int8 = before.graph("int8").read_bytes()

    outcome = cli("export", copied / "student", "--onnx", "--opset", 18)

    after = Bundle.open(copied / "student")
    after.verify()
    assert outcome.code == 0
    assert list(after.manifest.graphs) == ["fp32", "int8"]
    assert (after.manifest.graphs["fp32"].opset, after.manifest.graphs["int8"].opset) == (18, 17)
    assert after.graph("int8").read_bytes() == int8


def test_export_to_another_place_writes_what_was_asked_for_alone(ran: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("export", ran / "student", "--onnx", "--output", tmp_path / "other").code == 0

    assert list(Bundle.open(tmp_path / "other").manifest.graphs) == ["fp32"]


def test_a_note_beside_a_student_is_neither_lost_nor_a_reason_to_train(copied: Path, cli: Cli) -> None:
    note = copied / "student" / "note.txt"
    note.write_text("mine", encoding="utf-8")

    assert "student: nothing changed, reused" in again(cli, copied)[1]
    code, told = again(cli, copied, "distill.epochs=1")

    assert code == 2
    assert "note.txt, which would be lost" in told
    assert note.read_text(encoding="utf-8") == "mine"
    assert cli("export", copied / "student", "--quantize").code == 2


def test_a_student_of_another_command_is_none_of_the_run(copied: Path, cli: Cli) -> None:
    resolved, own = copied / "recipe.resolved.yaml", Bundle.open(copied / "student").manifest.files["model.safetensors"]

    refused = cli("distill", resolved, "--output", copied / "student")
    assert refused.code == 2
    assert "belongs to the run in" in refused.err

    other = ("distill", resolved, "--output", copied / "other", "--set", "distill.seed=5")
    assert cli(*other).code == 0
    assert "the model that lies there will be replaced" in cli(*other).err
    shutil.rmtree(copied / "student")
    (copied / "other").rename(copied / "student")
    code, told = again(cli, copied)

    assert code == 0
    assert "student: made again (another command has written there since)" in told
    assert "teacher: nothing changed, reused" in told
    assert Bundle.open(copied / "student").manifest.files["model.safetensors"] == own


def test_graphs_that_another_command_wrote_are_made_again(copied: Path, cli: Cli) -> None:
    assert cli("export", copied / "student", "--onnx", "--opset", 18).code == 0

    told = again(cli, copied)[1]

    assert "student: nothing changed, reused" in told
    assert "export-student: made again (another command has written there since)" in told
    assert Bundle.open(copied / "student").manifest.graphs["fp32"].opset == 17


def test_what_a_file_browser_leaves_is_nobodys_file(copied: Path, cli: Cli) -> None:
    (copied / "student" / ".DS_Store").write_bytes(b"Bud1")

    code, told = again(cli, copied)

    assert code == 0
    assert "export-student: nothing changed, reused" in told
    assert cli("inspect", copied / "student", "--verify").code == 0


def test_times_of_the_student_before_are_not_shown_beside_new_answers(
    copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kd_deploy.benchmark.run.benchmark", interrupted)
        assert again(cli, copied, "distill.epochs=1")[0] == 130

    told = cli("report", copied, "--output", copied / "report")

    assert told.code == 2
    assert "neither a finished run" in told.err


def test_a_report_of_a_run_has_its_gates_whatever_forms_it_wrote(copied: Path, cli: Cli, tmp_path: Path) -> None:
    code, _ = again(cli, copied, "report.formats=[html]", "report.gates={min_retained: 2.0}")

    assert code == 10
    assert {path.name for path in copied.glob("report.*")} == {"report.html"}
    assert cli("report", copied, "--output", tmp_path / "report").code == 10


def test_evaluate_tells_two_models_of_one_name_apart(ran: Path, desk: Path, cli: Cli, tmp_path: Path) -> None:
    other = Path(shutil.copytree(ran / "control", tmp_path / "student"))
    rows = desk / "test.jsonl"

    both = json.loads(
        cli("evaluate", ran / "student:torch", "--data", rows, "--against", f"{other}:torch", "--json").out
    )

    alone = [
        json.loads(cli("evaluate", one, "--data", rows, "--json").out)["targets"][0]["quality"]
        for one in (f"{other}:torch", ran / "student:torch")
    ]
    assert [one["quality"] for one in both["targets"]] == alone
    assert both["targets"][1]["agreement"] < 1
    assert [one["name"] for one in both["targets"]] == [f"{other}:torch", str(ran / "student:torch")]


def test_results_that_cannot_be_written_are_known_before_the_work(
    ran: Path, desk: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.benchmark.run.benchmark", lambda *_, **__: pytest.fail("it measured"))

    for command in (["benchmark", ran / "student"], ["evaluate", ran / "student", "--data", desk / "test.jsonl"]):
        told = cli(*command, "--output", tmp_path)
        assert told.code == 2
        assert "is a folder, not a file" in told.err


def test_a_benchmark_file_says_what_its_models_are_for(ran: Path, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert cli("benchmark", ran / "student", "--rounds", 1, "--output", file).code == 0
    found = read_json(file)
    assert found["task"] == "text-classification"

    file.write_text(json.dumps(found | {"task": "text2text"}), encoding="utf-8")
    assert cli("report", file, "--output", tmp_path / "report").code == 0

    report = read_json(tmp_path / "report" / "report.json")
    assert (report["task"], report["main_metric"]) == ("text2text", "quality")


def test_a_report_on_runs_of_two_machines_says_so_and_keeps_their_notes(copied: Path, ran: Path, cli: Cli) -> None:
    elsewhere = read_json(copied / "benchmark.json")
    elsewhere["environment"]["cpu"] = "Another CPU"
    (copied / "benchmark.json").write_text(json.dumps(elsewhere), encoding="utf-8")

    assert cli("report", ran, copied, "--output", copied / "both").code == 0

    notes = " ".join(read_json(copied / "both" / "report.json")["notes"])
    assert "copied: measured on Another CPU" in notes
    assert "out: It learned from 400 texts" in notes


def test_a_manifest_of_an_unknown_task_is_exit_8(copied: Path, cli: Cli) -> None:
    path = copied / "student" / "bundle.json"
    path.write_text(path.read_text(encoding="utf-8").replace("text-classification", "juggling"), encoding="utf-8")

    for command in (["inspect"], ["predict"]):
        told = cli(*command, copied / "student")
        assert (told.code, "bundle.json is damaged: task" in told.err) == (8, True)


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_no_generator_takes_is_refused_at_once(ran: Path, cli: Cli, tmp_path: Path, seed: str) -> None:
    told = cli("run", ran / "recipe.resolved.yaml", "--output", tmp_path / "out", "--set", f"distill.seed={seed}")

    assert told.code == 3
    assert "distill.seed" in told.err


def test_torch_that_is_missing_in_a_measuring_process_is_exit_9(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    monkeypatch.syspath_prepend(str(tmp_path))  # what a measuring process can import, it has from here

    told = cli("benchmark", ran / "student:torch", "--rounds", 1)

    assert told.code == 9
    assert "pip install 'kd-deploy[distill]'" in told.err
    assert "Traceback" not in told.err


def wait_until_idle(process: psutil.Process) -> None:
    """Until it has used no processor for a moment."""
    used: tuple[float, ...] = ()
    while used != process.cpu_times()[:2]:
        used = process.cpu_times()[:2]
        time.sleep(0.2)


def test_ctrl_c_while_predict_waits_for_a_line_is_130(ran: Path) -> None:
    command = [sys.executable, "-m", "kd_deploy", "predict", str(ran / "student")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the tests run in the background, SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        waiting.stdin.write(b"where is my parcel\n")
        waiting.stdin.flush()
        waiting.stdout.readline()
        wait_until_idle(psutil.Process(waiting.pid))
        waiting.send_signal(signal.SIGINT)
        code, told = waiting.wait(timeout=60), waiting.stderr.read() if waiting.stderr else b""

    assert code == 130
    assert b"interrupted" in told
    assert b"Fatal" not in told


def test_half_a_character_in_json_is_a_question_mark(tmp_path: Path) -> None:
    halves, whole = r'{"text": "a \ud83d parcel"}', r'{"text": "a \ud83d\ude00 parcel"}'
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{halves}\n{whole}\n", encoding="utf-8")

    read = read_table(str(rows), columns={}, required=("text",)).columns["text"]
    typed = list(read_lines(io.BytesIO(rows.read_bytes()), TASKS["text-classification"]))

    assert list(read) == typed == ["a ? parcel", "a \N{GRINNING FACE} parcel"]


@pytest.mark.parametrize(
    ("task", "lines", "read"),
    [
        ("text-classification", ["one", "", "two"], ["one", "", "two"]),
        ("text-classification", ['{"text": "one"}', "", '{"text": "two"}', ""], ["one", "two"]),
        ("question-answering", ['{"question": "a", "context": "b"}', " ", ""], [("a", "b")]),
    ],
)
def test_blank_lines_are_texts_among_texts_alone(task: TaskName, lines: list[str], read: list[Any]) -> None:
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())

    assert list(read_lines(stream, TASKS[task])) == read


def test_a_teacher_that_does_not_export_does_not_end_a_run(
    copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = running.export_made

    def refusing(source: Bundle, output: Path, **settings: object) -> Bundle:
        if output.name == "teacher":
            raise ExportError("there is no ONNX form of it")
        return plain(source, output, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "export_made", refusing)

    code, told = again(cli, copied, "teacher.finetune.epochs=1", "distill.control=false")

    report = read_json(copied / "report.json")
    assert code == 0
    assert "the teacher's ONNX files are left out: there is no ONNX form of it" in told
    assert [one["name"] for one in report["targets"]] == ["teacher", "student", "student-fp32", "student-int8"]
    assert any("could not be exported to ONNX" in note for note in report["notes"])


def test_runs_that_were_judged_by_other_metrics_are_not_one_report(copied: Path, ran: Path, cli: Cli) -> None:
    evaluation = read_json(copied / "evaluation.json") | {"main_metric": "macro_f1"}
    (copied / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")

    told = cli("report", ran, copied, "--output", copied / "both")

    assert told.code == 7
    assert "text-classification by accuracy and as text-classification by macro_f1" in told.err


def test_a_report_says_how_many_of_its_texts_were_trained_on(desk: Path, ran: Path, cli: Cli, tmp_path: Path) -> None:
    lines = [(desk / f"{name}.jsonl").read_text(encoding="utf-8").splitlines() for name in ("test", "train")]
    (tmp_path / "test.jsonl").write_text("\n".join(lines[0][:40] + lines[1][:3]) + "\n", encoding="utf-8")
    copied = Path(shutil.copytree(ran, tmp_path / "copied"))
    known = {json.loads(line)["text"] for line in lines[1]}
    again_there = sum(json.loads(line)["text"] in known for line in lines[0][:40]) + 3

    again(cli, copied, f"data.test={tmp_path / 'test.jsonl'}")

    notes = " ".join(read_json(copied / "report.json")["notes"])
    assert f"{again_there} of the 43 texts of this report stand in the training texts too" in notes


def test_export_to_the_bundle_itself_is_export_in_place(copied: Path, cli: Cli) -> None:
    bundle = copied / "student"

    assert cli("export", bundle, "--onnx", "--output", bundle).code == 0

    assert list(Bundle.open(bundle).manifest.graphs) == ["fp32", "int8"]


@pytest.mark.parametrize(("name", "stage"), [("evaluation", "evaluate"), ("benchmark", "benchmark")])
def test_figures_that_are_damaged_are_made_again(copied: Path, cli: Cli, name: str, stage: str) -> None:
    (copied / f"{name}.json").write_text("{", encoding="utf-8")

    code, told = again(cli, copied)

    assert code == 0
    assert f"{stage}: made again" in told


def test_figures_of_a_student_that_is_gone_are_gone_too(
    copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> Bundle:
        raise ExportError("no graph today")

    monkeypatch.setattr(running, "export_made", failing)

    assert again(cli, copied, "distill.epochs=1")[0] == 6
    assert not [name for name in ("evaluation.json", "benchmark.json", "report.json") if (copied / name).exists()]
    assert cli("report", copied, "--output", copied / "other").code == 2


def test_texts_without_labels_are_no_reason_to_train_teacher_and_control_again(
    copied: Path, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "a long story of people in town"}\n', encoding="utf-8")

    code, told = again(cli, copied, f"data.unlabeled={tmp_path / 'texts.jsonl'}")

    assert code == 0
    assert "teacher: nothing changed, reused" in told
    assert "control: nothing changed, reused" in told
    assert "student: nothing changed, reused" not in told
    assert "student: made again (what it depends on has changed)" in told
    answered = [line.split()[0] for line in told.splitlines() if "has answered these rows before" in line]
    asked = [line.split()[1] for line in told.splitlines() if line.startswith("evaluating ")]
    assert (answered, asked) == (["teacher", "teacher-int8", "control"], ["student", "student-fp32", "student-int8"])


def test_a_launcher_of_several_processes_is_refused(copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    code, told = again(cli, copied)

    assert code == 2
    assert "a launcher started 2" in told


def test_a_report_that_was_read_is_not_removed(copied: Path, cli: Cli, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert cli("report", copied, "--output", report).code == 0
    (copied / "report.md").unlink()

    told = cli("report", copied, "--baseline", report / "report.json", "--output", report, "--formats", "html")

    assert told.code == 0
    assert {path.name for path in report.iterdir()} == {"report.html", "report.json"}
    assert cli("report", copied, "--output", copied, "--formats", "md").code == 0
    assert {path.name for path in copied.glob("report.*")} == {"report.md", "report.json"}


def test_a_report_does_not_replace_its_baseline(copied: Path, cli: Cli, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert cli("report", copied, "--output", report).code == 0
    before = (report / "report.json").read_bytes()

    for baseline in (report, report / "report.json"):
        told = cli("report", copied, "--baseline", baseline, "--output", report)
        assert (told.code, "would replace its baseline" in told.err) == (2, True)
        assert cli("report", copied, "--baseline", baseline, "--output", report, "--formats", "md").code == 0
    assert (report / "report.json").read_bytes() == before


def test_the_notes_of_a_run_are_kept_whatever_forms_its_report_has(copied: Path, cli: Cli, tmp_path: Path) -> None:
    assert again(cli, copied, "report.formats=[html]")[0] == 0
    assert not (copied / "report.json").exists()

    assert cli("report", copied, "--output", tmp_path / "report").code == 0

    notes = read_json(tmp_path / "report" / "report.json")["notes"]
    assert any("It learned from 400 texts" in note for note in notes)
    assert [one for one in notes if one.startswith("Student: {architecture: ") and one.endswith(" parameters.")]
    assert [one for one in notes if one.startswith("Distillation: {") and "objective: [{term: " in one]


def test_a_demo_replaces_no_other_run(copied: Path, cli: Cli) -> None:
    before = (copied / "recipe.resolved.yaml").read_bytes()

    told = cli("demo", "--output", copied)

    assert (told.code, "holds a run of another recipe" in told.err) == (2, True)
    assert (copied / "recipe.resolved.yaml").read_bytes() == before
    assert not (copied / "data").exists()


def test_a_page_that_cannot_be_made_is_refused_before_anything_is_trained(
    copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "find_spec", lambda package: None if package == "matplotlib" else package)

    code, told = again(cli, copied, "teacher.finetune.epochs=1")

    assert (code, "report" in told) == (9, True)
    assert "teacher: epoch 1" not in told


def test_a_bundle_that_cannot_be_written_is_no_reason_to_train_again(
    copied: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(job, "write_bundle", _full)
        assert again(cli, copied, "distill.epochs=1")[0] == 2

    code, told = again(cli, copied, "distill.epochs=1")

    assert code == 0
    assert "going on from checkpoint-" in told
    assert "student: epoch" not in told


def _full(*_: object, **__: object) -> None:
    raise UsageError("cannot write: the disk is full", hint="free some space")
