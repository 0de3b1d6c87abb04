import json
from pathlib import Path

import jsonschema
import pytest

from kd_deploy.errors import BenchmarkError
from kd_deploy.report.baseline import against_baseline
from kd_deploy.report.document import SCHEMA_FILE, load_report, report_schema, schema_text, to_document, to_json
from tests.report.samples import INT8, TEACHER, benchmarked, measured, not_measured, report

PARTLY = benchmarked(measured(TEACHER), not_measured(INT8, "CUDAExecutionProvider is missing"))


def test_the_shipped_schema_is_the_one_of_the_dataclasses() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("made", [report(), report(timed=PARTLY), against_baseline(report(), report())])
def test_a_report_keeps_to_the_schema_and_comes_back_as_it_was(made: object, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(to_json(made), encoding="utf-8")

    jsonschema.validate(json.loads(to_json(made)), report_schema())

    assert load_report(tmp_path) == made
    assert load_report(tmp_path / "report.json") == made


def test_the_keys_are_those_of_the_contract() -> None:
    document = to_document(report())

    first, compared = document["targets"][0], document["comparison"][0]

    assert {"schema_version", "task", "created", "environment", "data", "targets", "comparison", "gates"} <= set(
        document
    )
    assert set(first) == {
        *("name", "role", "runtime", "precision", "provider", "threads", "parameters", "size_bytes", "quality"),
        *("agreement", "latency", "end_to_end", "throughput", "memory", "start"),
    }
    assert set(first["latency"][0]) == {"batch_size", "sequence_length", "p50_ms", "p90_ms", "p99_ms", "n", "stage"}
    assert {"target", "against", "retained", "speedup", "smaller", "memory_ratio"} <= set(compared)
    assert {"name", "limit", "value", "passed"} <= set(document["gates"][0])


def test_every_null_has_a_reason_beside_it() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            assert None not in value.values() or value["reason"]
            for one in value.values():
                check(one)
        elif isinstance(value, list):
            for one in value:
                check(one)

    check(to_document(report(timed=PARTLY)))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "JSON"), ('{"schema_version": 2}', "schema_version"), ("[1]", "is no report of kd-deploy")],
)
def test_a_file_that_is_no_report_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BenchmarkError, match=said):
        load_report(path)


def test_a_folder_without_a_report_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"there is no file .*report\.json"):
        load_report(tmp_path)
