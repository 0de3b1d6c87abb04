"""What holds for the package as a whole: who imports whom, how long a module is, what it says of itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kd_deploy

PACKAGE = Path(kd_deploy.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 250
WITHOUT_TORCH = (
    "kd_deploy",
    "kd_deploy.benchmark.run",
    "kd_deploy.bundle",
    "kd_deploy.cli",
    "kd_deploy.data.reading",
    "kd_deploy.recipe",
    "kd_deploy.report.render",
    "kd_deploy.runtime",
    "kd_deploy.runtime.open",
    "kd_deploy.tasks.splits",
)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.skipif(not (PACKAGE.parent / "pyproject.toml").is_file(), reason="the contracts lie beside the source")
def test_imports_go_one_way() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_holds(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(text)), "no docstring"


def test_no_torch_is_imported_where_answers_are_given() -> None:
    code = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = sorted({'torch', 'transformers', 'optimum'} & set(sys.modules))\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )

    done = subprocess.run([sys.executable, "-c", code, *WITHOUT_TORCH], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
