"""Result files as every benchmark writes them: flat figures, reasons for what is missing, raw material beside."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kd_deploy.benchmark.run import environment
from kd_deploy.files import write_text

RESULTS = Path(__file__).parent / "results"


def write(
    name: str, *, figures: Mapping[str, float | None], reasons: Mapping[str, str], raw: Mapping[str, Any]
) -> Path:
    """Write benchmarks/results/NAME.json."""
    missing = [key for key, value in figures.items() if value is None and key not in reasons]
    if missing:
        raise ValueError(f"no reason is given for {missing}")
    path = RESULTS / f"{name}.json"
    document = {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "environment": asdict(environment()),
        "figures": dict(figures),
        "reasons": dict(reasons),
        **raw,
    }
    RESULTS.mkdir(exist_ok=True)
    write_text(path, json.dumps(document, indent=1) + "\n")
    return path


def read(name: str) -> dict[str, Any]:
    """What benchmarks/results/NAME.json holds; empty: it is not there yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def report_of(run: Path, *, result: str) -> dict[str, Any] | None:
    """The report of a run; of one that is gone, the report that benchmarks/results/RESULT.json has."""
    path = run / "report.json"
    found: dict[str, Any] | None = read(result).get("reports", {}).get(run.name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else found


def in_child(code: str, *arguments: str, repeats: int = 1) -> list[dict[str, Any]]:
    """Run a snippet in fresh interpreters; each prints one JSON line."""
    command = [sys.executable, "-c", code, *arguments]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(repeats)]
    return [json.loads(run.stdout.splitlines()[-1]) for run in runs]


def median(values: Sequence[float]) -> float:
    """The middle of the samples."""
    return float(statistics.median(values))
