"""The recipes under examples/ are recipes, fit their teachers, and say how they are run."""

import re
from pathlib import Path

import pytest

from kd_deploy.distill.check import check_recipe
from kd_deploy.recipe import Recipe, Teacher

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "examples").rglob("*.yaml"))
DISTILLATION = ROOT / "examples" / "distillation"
every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the paths in the recipes start there


def comment_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


def teacher_of(path: Path) -> Teacher:
    teacher = Recipe.load(path).teacher
    assert teacher is not None
    return teacher


def models_of(teacher: Teacher) -> set[str]:
    return {str(teacher.first), *(one.model for one in teacher.several)}


@every_recipe
def test_it_is_a_recipe_that_fits_its_teacher(path: Path) -> None:
    recipe, folder = Recipe.load(path), str(teacher_of(path).first)
    if not Path(folder).is_dir():
        pytest.skip(f"{path.name} is a recipe; its teacher {folder} is not there")

    check_recipe(recipe)


@every_recipe
def test_its_data_is_where_it_says(path: Path) -> None:
    data = Recipe.load(path).data
    sources = [one for one in (data.train, data.validation, data.test, *data.unlabeled) if one is not None]
    folders = {Path(one).parents[1] for one in sources}
    if not all(one.is_dir() for one in folders):
        pytest.skip(f"no data in {', '.join(sorted(map(str, folders)))}")

    assert [one for one in sources if not Path(one).is_file()] == []


@every_recipe
def test_its_comment_is_short_and_ends_with_its_command(path: Path) -> None:
    *rest, command = comment_of(path)

    assert len(rest) in (1, 2)
    assert re.fullmatch(rf"# From the project's root: kd-deploy (run|distill) {path.relative_to(ROOT)} .*", command)


def test_a_teacher_under_runs_is_made_by_another_recipe() -> None:
    commands = " ".join(comment_of(path)[-1] for path in RECIPES)
    made = {folder for path in RECIPES for folder in models_of(teacher_of(path)) if folder.startswith("runs/")}

    assert made
    assert {folder for folder in made if f"--output {'/'.join(folder.split('/')[:2])}" not in commands} == set()


def test_each_way_to_distil_has_its_line_in_the_readme() -> None:
    table = re.findall(r"^\| `([\w-]+\.yaml)` \|", (DISTILLATION / "README.md").read_text("utf-8"), flags=re.MULTILINE)

    assert sorted(table) == sorted(path.name for path in DISTILLATION.glob("*.yaml"))
