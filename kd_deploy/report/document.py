"""report.json: a report as JSON text and back, and the schema that it keeps to."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kd_deploy import measurement_store
from kd_deploy.report.model import Report

REPORT_FILE = "report.json"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")
ONLY_WHERE_SET = ("reason", "baseline", "guess")


def to_document(report: Report) -> dict[str, Any]:
    """The report as report.json holds it: a reason only where there is something to explain."""
    document: dict[str, Any] = _without_empty(measurement_store.as_document(report))
    return document


def to_json(report: Report) -> str:
    """The text of report.json."""
    return json.dumps(to_document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def load_report(path: Path) -> Report:
    """The report in a report.json, or in the folder that holds one.

    Raises:
        BenchmarkError: There is none, or it is not a report of this version; its first fault is named.
    """
    return measurement_store.load(report_file(path), Report)


def report_file(path: Path) -> Path:
    """The report.json that a path names: itself, or the one in the folder."""
    return path / REPORT_FILE if path.is_dir() else path


def report_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    schema = TypeAdapter(Report).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The text of report.schema.json, which is shipped with the package."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_empty(one) for key, one in value.items() if one is not None or key not in ONLY_WHERE_SET}
    return value
