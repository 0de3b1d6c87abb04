"""Models that write, from the files of a run to the answers of the command line."""

import io
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kd_deploy import runtime
from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.generation import Generation
from tests import tiny_tasks, tiny_writers
from tests.cli.conftest import Cli, read_json, write_recipe

ROLES = {"teacher", "student", "control"}
METRICS = {"perplexity": {"perplexity", "bits_per_character"}, "bleu": {"bleu", "chrf", "rouge_l"}}
STAGES = ("teacher", "student", "export-teacher", "export-student", "evaluate")
PARTS = {"gpt2": ("model",), "bart": ("encoder_model", "decoder_model_merged")}
PARTS["lstm"] = PARTS["bart"]


@dataclass(frozen=True)
class Made:
    """What the run of a kind of model left, and the recipe that it followed."""

    kind: str
    folder: Path
    recipe: dict[str, Any]

    @property
    def metric(self) -> str:
        return tiny_writers.METRIC[self.kind]

    @property
    def student(self) -> Bundle:
        return Bundle.open(self.folder / "student")

    @property
    def report(self) -> Any:
        return read_json(self.folder / "report.json")


@pytest.fixture(scope="module", params=tiny_writers.KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.getbasetemp()
    folder = tiny_writers.ran(request.param, base)
    return Made(kind=request.param, folder=folder, recipe=tiny_writers.run_document(request.param, base))


def given(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines on stdin."""
    text = "".join(f"{line}\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def written(bundle: Bundle, texts: list[str], *, precision: str) -> list[dict[str, object]]:
    """What each text gets by itself."""
    with runtime.load(bundle, precision=precision) as graph:
        return [graph.to_json(graph.predict([one])[0]) for one in texts]


def test_the_report_has_every_target_with_the_metrics_of_the_task(made: Made) -> None:
    report = made.report

    assert (report["task"], report["main_metric"]) == (tiny_writers.TASK[made.kind], made.metric)
    assert {one["role"] for one in report["targets"]} == (ROLES if made.kind != "lstm" else ROLES - {"control"})
    names = {one["name"] for one in report["targets"]}
    assert names >= {"teacher", "teacher-int8", "student", "student-fp32", "student-int8", "student-int4"}
    for one in report["targets"]:
        assert set(one["quality"]) == METRICS[made.metric]
        assert 0 <= one["agreement"] <= 1
        value = one["quality"][made.metric]
        assert value >= 1 if made.metric == "perplexity" else 0 < value <= 1


def test_what_is_kept_of_a_perplexity_is_the_teachers_over_the_students(made: Made) -> None:
    quality = {one["name"]: one["quality"][made.metric] for one in made.report["targets"]}
    compared = {one["target"]: one for one in made.report["comparison"]}

    for name, one in compared.items():
        above, below = (quality["teacher"], quality[name])[:: 1 if made.metric == "perplexity" else -1]
        assert one["retained"] == pytest.approx(above / below)
        assert one["retained_low"] <= one["retained"] <= one["retained_high"]
    assert "student-int4" in compared


def test_the_difference_to_the_control_is_where_more_is_better(made: Made) -> None:
    quality = {one["name"]: one["quality"][made.metric] for one in made.report["targets"]}
    if "control" not in quality:
        assert made.report["differences"] == []
        return
    (found,) = made.report["differences"]

    ours, theirs = quality["student"], quality["control"]
    points = math.log(theirs / ours) if made.metric == "perplexity" else ours - theirs
    assert found["points"] == pytest.approx(100 * points)
    assert found["low"] <= found["points"] <= found["high"]


def test_all_forms_of_the_report_are_written(made: Made) -> None:
    for form in made.recipe["report"]["formats"]:
        assert made.metric in (made.folder / f"report.{form}").read_text(encoding="utf-8")


def test_the_bundle_says_how_it_writes_and_what_its_graphs_are_worth(made: Made) -> None:
    told = read_json(made.folder / "student" / MANIFEST)

    assert Generation.model_validate(told["generation"]) == Generation(max_new_tokens=tiny_writers.NEW)
    assert set(told["graphs"]) == set(tiny_writers.PRECISIONS)
    for one in told["graphs"].values():
        assert tuple(one["parts"]) == PARTS[made.kind]
        assert 0 <= one["greedy_identical"] <= 1
    assert told["graphs"]["fp32"]["greedy_identical"] == 1
    assert told["graphs"]["fp32"]["parity"]["max_abs_error"] < 1e-3
    assert set(told["metrics"]) == METRICS[made.metric]
    assert told["labels"] == []
    made.student.verify()


def test_the_forms_of_a_student_are_worth_what_torch_is(made: Made) -> None:
    targets = {one["target"]["name"]: one for one in read_json(made.folder / "evaluation.json")["targets"]}

    if made.metric == "bleu":
        assert targets["student-fp32"]["predictions"] == targets["student"]["predictions"]
    quality = {name: one["quality"][made.metric] for name, one in targets.items()}
    assert quality["student-fp32"] == pytest.approx(quality["student"], rel=1e-4)
    assert quality["student-int8"] == pytest.approx(quality["student"], rel=0.2)


def test_a_second_run_makes_nothing_again(made: Made, cli: Cli, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*model*")}

    outcome = cli("run", write_recipe(tmp_path / "recipe.yaml", made.recipe), "--output", made.folder)

    assert outcome.code == 0, outcome.err
    for stage in (*STAGES, *(() if made.kind == "lstm" else ("control",))):
        assert f"{stage}: nothing changed, reused" in outcome.err
    assert before == {path: path.stat().st_mtime_ns for path in made.folder.rglob("*model*")}


def test_objects_and_plain_lines_are_answered_in_order(made: Made, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    column = "text" if made.kind == "gpt2" else "source"
    texts = tiny_writers.prompts(made.kind, 12)
    lines = [json.dumps({column: one}) if row % 2 else one for row, one in enumerate(texts)]
    given(lines, monkeypatch)

    outcome = cli("predict", made.folder / "student", "--precision", "fp32")

    assert outcome.code == 0, outcome.err
    assert [json.loads(line) for line in outcome.lines] == written(made.student, texts, precision="fp32")


def test_a_streamed_answer_is_the_text(made: Made, cli: Cli) -> None:
    texts = tiny_writers.prompts(made.kind)[:3]

    plain = cli("predict", made.folder / "student", *texts, "--stream")
    pieces = cli("predict", made.folder / "student", *texts, "--stream", "--json")

    expected = [str(one["text"]) for one in written(made.student, texts, precision="int8")]
    assert (plain.code, pieces.code) == (0, 0), plain.err
    assert plain.out == "".join(f"{one}\n" for one in expected)
    joined = [""] * len(texts)
    for one in map(json.loads, pieces.lines):
        joined[one["input"]] += one["text"]
    assert joined == expected
    assert len(pieces.lines) > len(texts)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_precision_is_named_with_the_bundle(made: Made, cli: Cli, precision: str) -> None:
    text = tiny_writers.prompts(made.kind)[0]

    outcome = cli("predict", f"{made.folder / 'student'}:{precision}", text)

    assert outcome.code == 0, outcome.err
    (line,) = outcome.lines
    assert [json.loads(line)] == written(made.student, [text], precision=precision)


@pytest.mark.parametrize("form", ["fp32", "int8", "int4", "torch"])
def test_evaluate_gives_the_figures_of_the_report(made: Made, cli: Cli, form: str) -> None:
    bundle, data = made.folder / "student", made.recipe["data"]["test"]

    outcome = cli("evaluate", f"{bundle}:{form}", "--data", data, "--json", "--quiet")

    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    named = {one["name"]: one["quality"] for one in made.report["targets"]}
    assert told["main_metric"] == made.metric
    assert told["targets"][0]["quality"] == pytest.approx(named["student" if form == "torch" else f"student-{form}"])


def test_the_teacher_is_evaluated_beside_the_student(made: Made, cli: Cli) -> None:
    teacher, data = made.folder / "teacher", made.recipe["data"]["test"]

    outcome = cli("evaluate", made.folder / "student", "--data", data, "--against", teacher, "--json", "--quiet")

    assert outcome.code == 0, outcome.err
    first, *_ = json.loads(outcome.out)["targets"]
    assert first["name"] == "teacher-int8"


def test_inspect_shows_the_bundle(made: Made, cli: Cli) -> None:
    outcome = cli("inspect", made.folder / "student")

    assert outcome.code == 0, outcome.err
    assert tiny_writers.TASK[made.kind] in outcome.out


def test_the_time_to_an_answer_is_measured(made: Made, cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "benchmark.json"
    data = tiny_tasks.write_rows(tmp_path / "rows.jsonl", tiny_writers.rows(tiny_writers.TASK[made.kind], 2, seed=1))
    few = ("--data", data, "--rounds", 1, "--batch-sizes", 1, "--sequence-lengths", 8)

    outcome = cli("benchmark", f"{made.folder / 'student'}:int8", *few, "--output", output, "--quiet")

    assert outcome.code == 0, outcome.err
    (one,) = read_json(output)["targets"]
    assert min(one["end_to_end"]["timing"]["samples_ms"]) > 0
    assert one["latency"][0]["timing"] is not None


@pytest.mark.parametrize("made", ["gpt2"], indirect=True)
def test_a_model_of_few_positions_is_measured_without_rows(made: Made, cli: Cli) -> None:
    few = ("--rounds", 1, "--batch-sizes", 1, "--sequence-lengths", 8)

    outcome = cli("benchmark", f"{made.folder / 'student'}:int8", *few, "--quiet")

    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("made", ["gpt2", "bart"], indirect=True)
def test_a_checkpoint_of_anybody_becomes_a_bundle_that_writes_the_same(made: Made, cli: Cli, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(made.folder / "student", checkpoint, ignore=shutil.ignore_patterns(MANIFEST, "onnx", "README.md"))

    outcome = cli("export", checkpoint, "--output", tmp_path / "bundle", "--quiet")

    assert outcome.code == 0, outcome.err
    bundle, texts = Bundle.open(tmp_path / "bundle"), tiny_writers.prompts(made.kind, 10)
    assert bundle.manifest.task == tiny_writers.TASK[made.kind]
    settings = Generation(max_new_tokens=tiny_writers.NEW)
    with runtime.load(bundle, precision="fp32") as one, runtime.load(made.student, precision="fp32") as other:
        assert one.writer.write(texts, settings) == other.writer.write(texts, settings)
