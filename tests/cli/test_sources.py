"""What a recipe names is looked for before anything is read: every missing name is told, with its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Cli

TRANSFORMER = {"architecture": "transformer"}


def write(folder: Path, **sections: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "task": "text-classification", **sections}), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["run", "distill", "finetune"])
def test_a_missing_file_is_told_with_its_key(command: str, cli: Cli, tmp_path: Path) -> None:
    teacher = {"model": str(tmp_path), "finetune": {}}
    recipe = write(tmp_path, data={"train": "rows.jsonl"}, teacher=teacher)

    told = cli(command, recipe, "--output", tmp_path / "out")

    assert told.code == 4
    assert "error: data.train: there is no data file rows.jsonl\nhint: give a file in .jsonl" in told.err
    assert not (tmp_path / "out").exists()


def test_all_missing_names_are_told_at_once(cli: Cli, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("", encoding="utf-8")
    recipe = write(
        tmp_path,
        data={
            "train": str(tmp_path / "rows.jsonl"),
            "validation": "./a.csv",
            "test": "b.tsv",
            "unlabeled": ["c.txt", {"source": "d.jsonl", "column": "review"}, str(tmp_path / "rows.jsonl")],
        },
        teacher={"model": [{"model": "./e"}, {"model": str(checkpoint)}, {"model": "/f"}]},
        tasks={"topic": {"data": {"train": "g.jsonl"}, "teacher": {"model": "~/h"}}},
        student=TRANSFORMER | {"init": "./i"},
    )

    told = cli("distill", recipe, "--output", tmp_path / "out")

    assert told.code == 4
    assert told.err.splitlines()[:-1] == [
        "error: 9 names in the recipe are of nothing that can be read:",
        "  data.validation: there is no data file ./a.csv",
        "  data.test: there is no data file b.tsv",
        "  data.unlabeled.0: there is no data file c.txt",
        "  data.unlabeled.1: there is no data file d.jsonl",
        "  tasks.topic.data.train: there is no data file g.jsonl",
        "  teacher.model.0.model: there is no model folder ./e",
        "  teacher.model.2.model: there is no model folder /f",
        "  tasks.topic.teacher.model: there is no model folder ~/h",
        "  student.init: there is no model folder ./i",
    ]


def test_a_missing_model_has_the_exit_code_of_models(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("", encoding="utf-8")
    recipe = write(tmp_path, data={"train": str(tmp_path / "rows.jsonl")}, teacher={"model": "./none"})

    told = cli("run", recipe, "--output", tmp_path / "out")

    assert told.code == 8
    assert "error: teacher.model: there is no model folder ./none\nhint: check the path" in told.err


def test_what_is_no_model_is_told_with_its_key_too(cli: Cli, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    several = [{"model": str(checkpoint)}, {"model": str(tmp_path / "empty")}, {"model": "owner/of-nothing"}]
    recipe = write(tmp_path, data={"train": str(tmp_path / "rows.jsonl")}, teacher={"model": several})

    told = cli("run", recipe, "--output", tmp_path / "out")

    assert told.code == 8
    assert f"  teacher.model.1.model: {tmp_path / 'empty'} is not a checkpoint: it has no config.json\n" in told.err
    assert "  teacher.model.2.model: there is no folder owner/of-nothing, and the hub gave no model" in told.err


def test_a_missing_teacher_of_the_command_line_is_no_key_of_the_recipe(cli: Cli, tmp_path: Path) -> None:
    recipe = write(tmp_path, data={"train": "rows.jsonl"}, teacher={"model": "./none"})

    told = cli("distill", recipe, "--teacher", "./gone", "--output", tmp_path / "out")

    assert told.code == 8
    assert "error: there is no model folder ./gone" in told.err
    told = cli("distill", recipe, "--teacher", tmp_path, "--output", tmp_path / "out")
    assert f"error: {tmp_path} is not a checkpoint" in told.err


def test_a_teacher_alone_needs_no_student_and_no_further_task(cli: Cli, tmp_path: Path) -> None:
    recipe = write(
        tmp_path,
        data={"train": "rows.jsonl"},
        teacher={"model": str(tmp_path), "finetune": {}},
        student=TRANSFORMER | {"init": "./none"},
        tasks={"topic": {"data": {"train": "g.jsonl"}, "teacher": {"model": "./h"}}},
    )

    told = cli("finetune", recipe, "--output", tmp_path / "out")

    assert told.code == 4
    assert "error: data.train: there is no data file rows.jsonl" in told.err
