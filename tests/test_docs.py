"""docs/ says what is so: every term and every knob that it names exists, and none is left out."""

import re
from pathlib import Path

import yaml

from kd_deploy.distill.terms.build import READY
from kd_deploy.recipe import Distill

DOCS = Path(__file__).parent.parent / "docs"
DISTILLATION = (DOCS / "distillation.md").read_text(encoding="utf-8")


def test_every_term_is_in_the_table_of_terms() -> None:
    terms = {kind.model_fields["term"].annotation.__args__[0] for kind in READY}  # type: ignore[union-attr]

    assert set(re.findall(r"^\| `(\w+)` \|", DISTILLATION, flags=re.MULTILINE)) == terms


def test_the_recipe_in_it_is_one() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", DISTILLATION, flags=re.DOTALL):
        Distill.model_validate(yaml.safe_load(block)["distill"])


def test_the_program_in_it_runs() -> None:
    for block in re.findall(r"```python\n(.*?)```", DISTILLATION, flags=re.DOTALL):
        exec(compile(block, "distillation.md", "exec"), {})  # noqa: S102 - our own page


def test_every_knob_that_it_names_is_one_of_the_recipe() -> None:
    for path in re.findall(r"`distill\.(\w+)`", DISTILLATION):
        assert path in Distill.model_fields, path
