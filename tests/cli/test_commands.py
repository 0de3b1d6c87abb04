"""The other commands through the real entry point: what they print, and what they say when they cannot."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kd_deploy.bundle import Bundle
from kd_deploy.distill.precision import device_name, has_bf16
from tests.cli.conftest import Cli, read_json, small_recipe, write_recipe

COMMANDS = (
    "init", "demo", "run", "finetune", "distill", "export", "evaluate", "benchmark", "report", "predict", "inspect",
    "doctor",
)  # fmt: skip


def typed(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content))


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom kd_deploy.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'numpy', 'pydantic', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_three_common_options(name: str, cli: Cli) -> None:
    outcome = cli(name, "--help")

    assert outcome.code == 0
    for option in ("--help", "--quiet", "--json"):
        assert option in outcome.out


def test_an_unknown_command_or_option_is_exit_2(cli: Cli) -> None:
    assert cli("destill").code == 2
    assert cli("run", "--nonsense").code == 2


def test_init_writes_a_recipe_that_is_valid_and_replaces_nothing(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"

    assert cli("init", path).code == 0
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    again = cli("init", path)

    assert again.code == 2
    assert "# mine" in path.read_text(encoding="utf-8")
    assert cli("init", "--task", "juggling", tmp_path / "other.yaml").code == 2
    wrong = cli("run", path, "--output", tmp_path / "out")
    assert wrong.code in {4, 8}  # the recipe itself is fine; its files are not there


def test_schema_of_the_recipe_is_json(cli: Cli) -> None:
    outcome = cli("run", "--schema")
    assert {"task", "data", "teacher", "student"} <= set(json.loads(outcome.out)["properties"])


def test_predict_answers_arguments_in_order(ran: Path, cli: Cli) -> None:
    outcome = cli("predict", ran / "student", "where is my parcel", "I forgot my password")

    answers = [json.loads(line) for line in outcome.lines]
    assert len(answers) == 2
    for one in answers:
        assert one["label"] in one["scores"]
        assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-4)


def test_predict_streams_lines_and_json_lines(ran: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 'where is my parcel\n\n{"text": "I forgot my password"}\n'
    monkeypatch.setattr(sys, "stdin", typed(lines.encode()))

    outcome = cli("predict", ran / "student")

    assert outcome.code == 0
    assert len(outcome.lines) == 3


def test_a_byte_order_mark_is_no_part_of_a_line(ran: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []
    for content in (b'\xef\xbb\xbf{"text": "where is my parcel"}\n', b"where is my parcel\n"):
        monkeypatch.setattr(sys, "stdin", typed(content))
        answers.append(cli("predict", ran / "student").out)

    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"txt": 1}', "no text"),
        (b"{not json", "is not JSON"),
        (b"R\xfcckgabe", "not UTF-8"),
        (b'{"text": 5}', "no text"),
        (b'{"text": ' + 100_000 * b"[", "is not JSON"),
    ],
)
def test_predict_says_which_line_is_wrong(
    line: bytes, told: str, ran: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", typed(b"fine\n" + line + b"\n"))
    outcome = cli("predict", ran / "student")
    assert outcome.code == 4
    assert "stdin line 2" in outcome.err
    assert told in outcome.err


def test_predict_takes_the_form_with_the_bundle(ran: Path, cli: Cli) -> None:
    assert cli("predict", f"{ran / 'student'}:fp32", "hello").code == 0
    assert cli("predict", ran / "student", "hello", "--precision", "int2").code == 2
    told = cli("predict", ran, "hello")
    assert told.code == 8
    assert str(ran / "student") in told.err


def test_predict_refuses_a_bundle_with_one_byte_changed(ran: Path, cli: Cli, tmp_path: Path) -> None:
    bundle = shutil.copytree(ran / "student", tmp_path / "student")
    path = bundle / "onnx" / "model_quantized.onnx"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    outcome = cli("predict", bundle, "hello")

    assert outcome.code == 8
    assert "SHA-256" in outcome.err
    assert outcome.out == ""


def test_a_missing_provider_is_an_error_and_never_a_cpu_run(ran: Path, cli: Cli) -> None:
    outcome = cli("predict", ran / "student", "hello", "--provider", "tpu")
    assert outcome.code == 7
    assert "'tpu'" in outcome.err
    assert cli("benchmark", ran / "student", "--providers", "tpu").code == 7


def test_evaluate_prints_metrics_and_agreement(ran: Path, desk: Path, cli: Cli) -> None:
    data = desk / "test.jsonl"
    outcome = cli("evaluate", ran / "student", "--data", data, "--against", f"{ran / 'teacher'}:torch", "--json")

    targets = json.loads(outcome.out)["targets"]
    report = {one["name"]: one for one in read_json(ran / "report.json")["targets"]}
    assert [one["name"] for one in targets] == ["teacher-torch", "student-int8"]
    assert targets[1]["quality"]["accuracy"] == report["student-int8"]["quality"]["accuracy"]
    assert targets[1]["agreement"] == report["student-int8"]["agreement"]
    assert "accuracy" in cli("evaluate", ran / "student", "--data", data).out
    assert "teacher-int8" in cli("evaluate", ran / "student", "--data", data, "--against", ran / "teacher").out


def test_evaluate_names_the_row_with_an_unknown_label(ran: Path, cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "hello", "label": "refund"}\n{"text": "hello", "label": "nonsense"}\n', encoding="utf-8")

    outcome = cli("evaluate", ran / "student", "--data", data)

    assert outcome.code == 4
    assert "line 2" in outcome.err


def test_columns_with_other_names_are_mapped(ran: Path, cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "mails.csv"
    data.write_text("mail,kind\nwhere is my parcel,track_order\n", encoding="utf-8")

    told = cli("evaluate", ran / "student", "--data", data)
    mapped = cli("evaluate", ran / "student", "--data", data, "--columns", "text=mail,label=kind")

    assert told.code == 4
    assert "--columns" in told.err
    assert mapped.code == 0, mapped.err
    assert cli("evaluate", ran / "student", "--data", data, "--columns", "mail").code == 2


@pytest.mark.parametrize("command", ["evaluate", "benchmark", "export"])
def test_a_column_that_the_task_does_not_have_is_a_fault_of_the_command_line(
    command: str, ran: Path, cli: Cli, tmp_path: Path
) -> None:
    data = tmp_path / "mails.csv"
    data.write_text("text,label\nwhere is my parcel,track_order\n", encoding="utf-8")

    outcome = cli(command, ran / "student", "--data", data, "--columns", "mail=text", "--output", tmp_path / "made")

    assert outcome.code == 2
    assert "--columns mail: text-classification has no such column" in outcome.err
    assert "data.columns" not in outcome.err


def test_the_version_is_shown(cli: Cli) -> None:
    assert cli("--version").out.strip() == "0.1.0"


def test_two_runs_are_each_held_against_their_own_teacher(ran: Path, cli: Cli, tmp_path: Path) -> None:
    other = shutil.copytree(ran, tmp_path / "other")

    outcome = cli("report", ran, other, "--output", tmp_path / "report", "--json")

    report = json.loads(outcome.out)
    assert {one["target"].split("/")[0] == one["against"].split("/")[0] for one in report["comparison"]} == {True}
    assert [(one["student"], one["control"]) for one in report["differences"]] == [
        ("out/student", "out/control"),
        ("other/student", "other/control"),
    ]


def test_runs_in_folders_of_one_name_go_by_their_paths(ran: Path, cli: Cli, tmp_path: Path) -> None:
    other = shutil.copytree(ran, tmp_path / "elsewhere" / ran.name)

    outcome = cli("report", ran, other, "--output", tmp_path / "report", "--json")

    names = [one["name"] for one in json.loads(outcome.out)["targets"]]
    assert {name.rpartition("/")[0] for name in names} == {str(ran.resolve()), str(other.resolve())}
    twice = cli("report", ran, ran, "--output", tmp_path / "report")
    assert (twice.code, "is named twice" in twice.err) == (2, True)


def test_whoever_closes_a_pipe_gets_no_traceback(ran: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("where is my parcel\n" * 20_000, encoding="utf-8")
    told = f"{sys.executable} -m kd_deploy predict {ran / 'student'} < {texts} | head -1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", told], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[1:] == ["141"]
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_one_sentence(ran: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kd_deploy", "predict", str(ran / "student"), "hello"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: No space left on device"


def test_report_leaves_a_folder_of_others_alone(ran: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert cli("report", ran, "--output", tmp_path).code == 2


def test_benchmark_writes_raw_samples_and_report_reads_them(ran: Path, cli: Cli, tmp_path: Path) -> None:
    raw = tmp_path / "benchmark.json"
    models = (f"{ran / 'student'}:int8", f"{ran / 'student'}:fp32")
    outcome = cli("benchmark", *models, "--rounds", 1, "--sequence-lengths", 8, "--output", raw)

    assert outcome.code == 0, outcome.err
    assert len(read_json(raw)["targets"]) == 2
    made = cli("report", ran, raw, "--output", tmp_path / "report", "--formats", "json,md")
    assert made.code == 0, made.err
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "report.md"}


def test_a_benchmark_against_a_teacher_is_a_comparison(ran: Path, cli: Cli, tmp_path: Path) -> None:
    raw, few = tmp_path / "benchmark.json", ("--rounds", 1, "--sequence-lengths", 8, "--batch-sizes", 1)
    student, teacher = ran / "student", f"{ran / 'teacher'}:torch"

    outcome = cli("benchmark", student, "--against", teacher, *few, "--output", raw)

    assert outcome.code == 0, outcome.err
    assert "× as fast" in outcome.out
    assert cli("report", raw, "--output", tmp_path / "report", "--formats", "json").code == 0
    (compared,) = read_json(tmp_path / "report" / "report.json")["comparison"]
    assert (compared["target"], compared["against"]) == (str(student), teacher)
    assert compared["speedup"] > 0
    assert compared["retained"] is None
    assert cli("benchmark", teacher, "--against", teacher, *few).code == 2


def test_a_report_on_a_run_holds_it_against_its_own_gates(ran: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(ran, tmp_path / "copied")
    told, resolved = read_json(copied / "report.json"), copied / "recipe.resolved.yaml"
    (copied / "report.json").unlink()
    asked = yaml.safe_load(resolved.read_text(encoding="utf-8")) | {"report": {"gates": {"max_size_mb": 0.001}}}
    resolved.write_text(yaml.safe_dump(asked), encoding="utf-8")

    outcome = cli("report", copied, "--output", tmp_path / "report")

    assert outcome.code == 10
    made = read_json(tmp_path / "report" / "report.json")
    assert [(one["name"], one["limit"], one["passed"]) for one in made["gates"]] == [("max_size_mb", 0.001, False)]
    assert made["notes"] == told["notes"]


def test_report_shows_what_changed_since_a_baseline(ran: Path, cli: Cli, tmp_path: Path) -> None:
    before = read_json(ran / "report.json")
    for one in before["targets"]:
        one["quality"]["accuracy"] -= 0.01
    (tmp_path / "before.json").write_text(json.dumps(before), encoding="utf-8")

    outcome = cli("report", ran, "--baseline", tmp_path / "before.json", "--output", tmp_path / "report", "--json")

    changes = json.loads(outcome.out)["baseline"]["changes"]
    assert [one["quality_points"] for one in changes] == pytest.approx([1.0] * len(before["targets"]))


def test_report_refuses_what_is_no_run(cli: Cli, tmp_path: Path) -> None:
    assert cli("report", tmp_path).code == 2
    assert cli("report", tmp_path / "nothing", "--formats", "docx").code == 2


def test_inspect_shows_and_verifies(ran: Path, cli: Cli) -> None:
    outcome = cli("inspect", ran / "student", "--verify")
    assert outcome.code == 0
    assert "every file is as it was signed" in outcome.out
    assert "quantised" in outcome.out
    assert json.loads(cli("inspect", ran / "student", "--json").out)["task"] == "text-classification"
    assert cli("inspect", ran / "nothing").code == 8


def test_doctor_names_cores_and_providers(cli: Cli) -> None:
    told = json.loads(cli("doctor", "--json").out)
    assert told["machine"]["cores"] >= 1
    assert "cpu" in told["providers"]
    assert told["training"] == {"device": device_name(), "format": "bf16" if has_bf16() else "fp32"}
    assert f"training: on {device_name()}" in cli("doctor").out


def test_finetune_distill_and_export_one_by_one(desk: Path, cli: Cli, tmp_path: Path) -> None:
    student = {"architecture": "transformer", "layers": 1}
    recipe = write_recipe(tmp_path / "recipe.yaml", small_recipe(desk, student=student))
    teacher, bundle = tmp_path / "teacher", tmp_path / "student"

    assert cli("finetune", recipe, "--output", teacher).code == 0
    made = cli("distill", recipe, "--teacher", teacher, "--output", bundle, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["path"] == str(bundle)
    assert "signals" in made.err
    exported = cli(
        "export", bundle, "--onnx", "--quantize", "--data", desk / "validation.jsonl", "--max-accuracy-drop", 0.2
    )
    assert exported.code == 0, exported.err
    assert set(Bundle.open(bundle).manifest.graphs) == {"fp32", "int8"}
    Bundle.open(bundle).verify()
    assert not list(tmp_path.glob(".*")), "nothing is left beside what was asked for"


def test_export_makes_a_bundle_of_any_checkpoint(ran: Path, cli: Cli, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(ran / "teacher" / name, checkpoint / name)

    refused = cli("export", checkpoint)
    made = cli("export", checkpoint, "--quantize", "--output", tmp_path / "bundle")

    assert refused.code == 2
    assert "--output" in refused.err
    assert made.code == 0, made.err
    assert cli("predict", tmp_path / "bundle", "hello").code == 0


def test_an_accuracy_gate_that_says_no_leaves_the_bundle_as_it_was(
    ran: Path, desk: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kd_deploy.export import gate

    bundle = shutil.copytree(ran / "student", tmp_path / "student")
    before = (bundle / "bundle.json").read_bytes()
    # The fp32 reference answers as it is; everything after it, all wrong.
    answers = iter([1.0])
    monkeypatch.setattr(gate, "main_metric_of", lambda *_: 0.0)
    monkeypatch.setattr("kd_deploy.export.bundle.main_metric_of", lambda *_: next(answers))

    outcome = cli("export", bundle, "--quantize", "--data", desk / "validation.jsonl", "--max-accuracy-drop", 0.01)

    assert outcome.code == 10
    assert "embedding tables in fp32" in outcome.err  # the careful plans were tried too
    assert (bundle / "bundle.json").read_bytes() == before
    Bundle.open(bundle).verify()


def test_export_and_data_options_that_do_not_fit(ran: Path, cli: Cli) -> None:
    assert cli("export", ran / "student", "--no-onnx").code == 2
    assert cli("export", ran / "student", "--max-accuracy-drop", 0.1).code == 2
    unlimited = cli("export", ran / "student", "--max-accuracy-drop", 0.1, "--data", "rows.jsonl")
    assert (unlimited.code, "--quantize" in unlimited.err) == (2, True)
    assert cli("export", ran / "student", "--backend", "tea").code == 2
    assert cli("export", ran / "student", "--precision", "int3").code == 2
    assert cli("export", ran / "nothing").code == 8


def test_a_missing_extra_names_the_pip_line(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    recipe = write_recipe(tmp_path / "recipe.yaml", small_recipe(desk))

    told = subprocess.run(
        [sys.executable, "-m", "kd_deploy", "distill", recipe, "--output", tmp_path / "student"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 9
    assert "pip install 'kd-deploy[distill]'" in told.stderr
    assert "Traceback" not in told.stderr


def test_torchrun_trains_one_student_with_two_processes(desk: Path, tmp_path: Path, ran: Path) -> None:
    student = {"architecture": "bilstm", "hidden_size": 8, "head_size": 8}
    recipe = write_recipe(tmp_path / "recipe.yaml", small_recipe(desk, student=student))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "kd_deploy", "distill", str(recipe), "--teacher", str(ran / "teacher"), "--json"]

    done = subprocess.run(
        [*command, "--output", str(tmp_path / "student")], capture_output=True, text=True, check=False, timeout=600
    )

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines() if line.startswith("{")] == [
        str(tmp_path / "student")
    ]
    Bundle.open(tmp_path / "student").verify()
    assert "student: epoch 2" in done.stderr
