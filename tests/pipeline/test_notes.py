"""What a report tells besides its figures: what was built, and where validation says less than it seems."""

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.pipeline.notes import notes
from kd_deploy.recipe import Recipe
from kd_deploy.tasks import text_classification
from kd_deploy.tasks.splits import read_splits


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"text {row}", "label": "ab"[row % 2]}) for row in range(40)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def told(student: Bundle, data: dict[str, Any], teacher: dict[str, Any], **sections: Any) -> tuple[str, ...]:
    base = {"version": 1, "task": "text-classification", "student": {"architecture": "bilstm"}}
    recipe = Recipe.of(base | {"data": data, "teacher": teacher} | sections)
    return notes(recipe, read_splits(recipe.data, task=text_classification), teacher=None, student=student)


def test_what_was_built_comes_first(rows: str, bilstm_bundle: Bundle) -> None:
    stages = [
        {"objective": [{"term": "hidden", "layers": "top"}], "epochs": 2},
        {"objective": [{"term": "soft_targets", "weight": 0.5}], "patience": 1, "adapter": {"method": "lora"}},
    ]

    found = told(bilstm_bundle, {"train": rows}, {"model": "m"}, distill=stages)

    count = f"{bilstm_bundle.manifest.parameters:,}".replace(",", "\u202f")
    adapter = "{method: lora, rank: 8, alpha: 16.0, dropout: 0.0, targets: all}"
    answers = "[{term: soft_targets, weight: 0.5, temperature: 2.0}]"
    assert found[:3] == (
        f"Student: {{architecture: bilstm}}, {count} parameters.",
        "Distillation, stage 1: {objective: [{term: hidden, weight: 1.0, layers: top}], epochs: 2}.",
        f"Distillation, stage 2: {{objective: {answers}, patience: 1, adapter: {adapter}, epochs: 4}}.",
    )


@pytest.mark.parametrize(
    ("data", "teacher", "cut"),
    [
        ({}, {"model": "m"}, "Validation was"),
        ({"split": [0.5, 0.25, 0.25]}, {"model": "m"}, "Validation and test were"),
        ({}, {"model": "m", "finetune": {"epochs": 1}}, None),
        ({}, {"scratch": {}, "finetune": {"epochs": 1}}, None),
        ({"validation": "rows"}, {"model": "m"}, None),
    ],
)
def test_a_teacher_may_have_seen_the_rows_that_were_held_back(
    rows: str, bilstm_bundle: Bundle, data: dict[str, Any], teacher: dict[str, Any], cut: str | None
) -> None:
    files = {"train": rows} | {key: rows if value == "rows" else value for key, value in data.items()}

    found = [one for one in told(bilstm_bundle, files, teacher) if "held back from the file" in one]

    assert [one.split(" held back")[0] for one in found] == ([cut] if cut else [])
