"""One student for two tasks, from its recipe to its answers; and what such recipes may not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.cli import main
from kd_deploy.tasks.text_classification import Examples
from tests import tiny
from tests.cli.conftest import write_recipe

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
