import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "onnxruntime", "tokenizers", "matplotlib", "jinja2"}


@pytest.mark.parametrize("module", ["kd_deploy.report.render", "kd_deploy.report.baseline", "kd_deploy.benchmark.run"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
