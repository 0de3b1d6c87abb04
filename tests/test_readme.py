"""README says what is so: its commands exist, its table is the one the result files make, its program runs."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from kd_deploy import errors
from kd_deploy.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_is_in_the_table_of_commands() -> None:
    commands = {str(one.name) for one in app.registered_commands}
    assert set(re.findall(r"^\| `kd-deploy (\w+)` \|", README, flags=re.MULTILINE)) == commands


def test_every_exit_code_is_named() -> None:
    codes = {
        one.exit_code
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.KDDeployError)
    }
    sentence = README.split("Exit codes:")[1].split("\n\n")[0]
    assert codes <= {int(code) for code in re.findall(r"\b\d+\b", sentence)}


def test_every_folder_of_the_package_is_in_the_tree() -> None:
    folders = {
        path.name for path in (ROOT / "kd_deploy").iterdir() if path.is_dir() and (path / "__init__.py").is_file()
    }
    assert {f for f in folders if f"  {f}/" not in README} == set()


@pytest.mark.parametrize("name", ["sst2", "students", "objectives", "training", "tasks", "generation", "ways"])
def test_a_table_is_made_from_its_result_file(name: str) -> None:
    table = load_table()
    begin, end = table.marks(name)
    rendered, page = table.render(name), table.page_of(name).read_text(encoding="utf-8")
    if rendered is None:
        assert begin not in page
        pytest.skip(f"benchmarks/results/{name}.json is not there")
    assert page.split(begin)[1].split(end)[0].strip() == rendered.strip()
