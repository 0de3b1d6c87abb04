"""A run whose teacher stays on its server: it teaches, is judged on its answers, and is timed by nobody."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from tests.cli.conftest import Cli, read_json, small_recipe, write_recipe
from tests.served import Server, served

CUES = {"bad": ("awful", "dull"), "good": ("great", "fine")}


def opinion(text: str) -> list[float]:
    return [5.0 * sum(word in text for word in words) for words in CUES.values()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as told:
        told.scores = opinion
        yield told


def recipe(tmp_path: Path, url: str, **sections: Any) -> dict[str, Any]:
    for split, count in (("train", 60), ("validation", 20), ("test", 20)):
        rows = [
            {"text": f"we saw a {CUES[label][number % 2]} film {number}", "label": label}
            for number in range(count)
            for label in CUES
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    teacher = {
        "scratch": {"layers": 1, "hidden_size": 16, "attention_heads": 2, "vocabulary": 200},
        "endpoint": {"url": url, "protocol": "oip", "model": "sentiment", "labels": list(CUES)},
    }
    distill = {"epochs": 5, "learning_rate": 2.0e-2, "batch_size": 16}
    return small_recipe(tmp_path, teacher=teacher, distill=distill) | sections


def test_a_teacher_on_a_server_teaches_and_is_in_the_report(tmp_path: Path, server: Server, cli: Cli) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", recipe(tmp_path, server.url))

    outcome = cli("run", path, "--output", tmp_path / "run")

    assert outcome.code == 0, outcome.err
    report = read_json(tmp_path / "run" / "report.json")
    teacher, *others = report["targets"]
    assert (teacher["name"], teacher["runtime"], teacher["quality"]["accuracy"]) == ("teacher", "server", 1.0)
    assert teacher["end_to_end"] is None
    assert "was not benchmarked" in teacher["reason"]
    assert [one["name"] for one in others] == ["control", "student", "student-fp32", "student-int8"]
    against = {one["target"]: one for one in report["comparison"]}
    assert against["student-int8"]["retained"] > 0.8
    assert against["student-int8"]["speedup"] is None
    assert len(set(server.texts)) == len(server.texts) == 2 * 60  # those of the other splits are among them
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_gate_that_cannot_be_known_is_refused_before_anything_is_asked(
    tmp_path: Path, server: Server, cli: Cli
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", recipe(tmp_path, server.url, report={"gates": {"min_speedup": 2}}))

    outcome = cli("run", path, "--output", tmp_path / "run")

    assert outcome.code == 3
    assert "report.gates.min_speedup: the time of a teacher on a server is not measured" in outcome.err
    assert not server.asked


def test_the_second_run_asks_nothing(tmp_path: Path, server: Server, cli: Cli) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", recipe(tmp_path, server.url))
    first = cli("distill", path, "--output", tmp_path / "first", "--set", "distill.epochs=1")
    asked = len(server.asked)

    again = cli("distill", path, "--output", tmp_path / "again", "--set", "distill.epochs=1")

    assert first.code == again.code == 0, first.err + again.err
    assert len(server.asked) == asked > 0
    manifest = Bundle.open(tmp_path / "again").manifest
    assert manifest.training[0].computed == 0
    assert (manifest.lineage.teacher, manifest.lineage.teacher_sha256) == (f"sentiment at {server.url}", None)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"distill": {"objective": [{"term": "hidden"}]}}, "the term hidden looks into the teacher"),
        ({"student": {"architecture": "transformer", "layers": 3}}, "student.layers 3 is more than the teacher's 1"),
    ],
)
def test_what_a_server_cannot_show_is_refused_before_it_is_asked(
    tmp_path: Path, server: Server, cli: Cli, sections: dict[str, Any], message: str
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", recipe(tmp_path, server.url, **sections))

    outcome = cli("run", path, "--output", tmp_path / "run")

    assert outcome.code == 3
    assert message in outcome.err
    assert not server.asked


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [({"scores": "probabilities"}, "scores: probabilities"), ({"top_k": 1}, "top_k"), ({"decimals": 2}, "decimals")],
)
def test_texts_with_several_labels_need_whole_logits(
    tmp_path: Path, server: Server, cli: Cli, endpoint: dict[str, Any], named: str
) -> None:
    document = recipe(tmp_path, server.url)
    for split in ("train", "validation", "test"):
        rows = [
            {"text": f"we saw {one} {number}", "labels": one.split()} for number in range(20) for one in ("a", "a b")
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    document["teacher"]["endpoint"] |= endpoint
    path = write_recipe(tmp_path / "recipe.yaml", document)

    outcome = cli("distill", path, "--output", tmp_path / "made")

    assert outcome.code == 3
    assert f"teacher.endpoint: {named} is for one class a text" in outcome.err
    assert not server.asked


def test_a_server_whose_scores_stand_in_another_order_is_named(tmp_path: Path, server: Server, cli: Cli) -> None:
    turned = recipe(tmp_path, server.url)
    turned["teacher"]["endpoint"]["labels"] = list(reversed(CUES))
    path = write_recipe(tmp_path / "recipe.yaml", turned)

    outcome = cli("distill", path, "--output", tmp_path / "student", "--set", "distill.epochs=1")

    assert outcome.code == 0, outcome.err
    assert "the teacher's training accuracy 0.0000 is no better than always saying the commonest class" in outcome.err
    assert "check teacher.endpoint.labels" in outcome.err
