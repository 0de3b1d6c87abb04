"""docs/ says what is so: every term and every knob that it names exists, none is left out, its examples hold."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from kd_deploy.distill.observe import Shape
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.terms.build import READY
from kd_deploy.recipe import (
    Active,
    Augment,
    BilstmStudent,
    Data,
    Distill,
    Endpoint,
    FurtherTask,
    Recipe,
    Samples,
    StaticStudent,
    Teacher,
    Training,
    TransformerStudent,
)
from kd_deploy.recipe.adapter import Adapter
from kd_deploy.recipe.section import Section

ROOT = Path(__file__).parent.parent
DISTILLATION = (ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", DISTILLATION, flags=re.DOTALL | re.MULTILINE)
CODE = re.findall(r"`([^`\n]+)`", PROSE)
YAML = re.findall(r"^```yaml\n(.*?)^```", DISTILLATION, flags=re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^```python\n(.*?)^```", DISTILLATION, flags=re.DOTALL | re.MULTILINE)
TERMS = DISTILLATION.split("## The terms of an objective")[1].split("\n## ")[0]
STUDENTS = (TransformerStudent, BilstmStudent, StaticStudent)
SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "data": (Data,),
    "teacher": (Teacher,),
    "student": STUDENTS,
    "distill": (Distill,),
    "endpoint": (Endpoint,),
    "active": (Active,),
    "augment": (Augment,),
    "samples": (Samples,),
    "adapter": (Adapter,),
}
EXPLAINED = (Distill, Training, Teacher, FurtherTask, Endpoint, Active, Augment, Samples, Adapter, *STUDENTS, *READY)
MINIMAL = {
    "version": 1,
    "task": "text-classification",
    "data": {"train": "train.jsonl"},
    "teacher": {"model": "path/to/teacher"},
}


def layers(depth: int) -> Shape:
    return Shape(name="bert", depth=depth, width=384, embedding_width=384, heads=12)


def test_every_term_is_in_a_table_of_terms() -> None:
    terms = {kind.model_fields["term"].annotation.__args__[0] for kind in READY}  # type: ignore[union-attr]

    assert set(re.findall(r"^\| `(\w+)` \|", TERMS, flags=re.MULTILINE)) == terms


@pytest.mark.parametrize("section", EXPLAINED, ids=lambda section: section.__name__)
def test_every_key_is_explained(section: type[Section]) -> None:
    named = {word for code in CODE for word in re.findall(r"\w+", code)}

    assert set(section.model_fields) - {"term"} <= named


def test_every_key_that_it_names_is_one_of_the_recipe() -> None:
    paths = [found[0] for code in CODE if (found := re.match(r"\w+(\.\w+)+", code)) and _first(found[0]) in SECTIONS]

    assert paths
    for path in paths:
        parts = path.split(".")
        for section, key in itertools.pairwise(parts):
            if section in SECTIONS:
                assert any(key in kind.model_fields for kind in SECTIONS[section]), path


@pytest.mark.parametrize("block", YAML, ids=range(len(YAML)))
def test_the_recipes_in_it_are_recipes(block: str) -> None:
    recipe = Recipe.of(MINIMAL | yaml.safe_load(block))

    for stage in recipe.stages:
        build_objective(stage.objective, Ground(student=layers(3), teacher=layers(6)))


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_the_programs_in_it_run(block: str) -> None:
    exec(compile(block, "distillation.md", "exec"), {})  # noqa: S102 - our own page


def test_the_readme_leads_to_it() -> None:
    assert "(docs/distillation.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def _first(path: str) -> str:
    return path.partition(".")[0]
