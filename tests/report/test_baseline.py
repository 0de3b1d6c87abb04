from dataclasses import replace

import pytest

from kd_deploy.errors import BenchmarkError
from kd_deploy.report.baseline import against_baseline
from tests.report.samples import INT8, TEACHER, TORCH, benchmarked, evaluated, evaluation, measured, report


def test_a_report_against_itself_has_not_changed() -> None:
    found = against_baseline(report(), report()).baseline

    assert {(one.quality_points, one.p50_ratio, one.size_ratio, one.reason) for one in found.changes} == {
        (0.0, 1.0, 1.0, None)
    }


def test_changes_are_now_against_then() -> None:
    then = report(
        evaluation(evaluated(TEACHER), evaluated(INT8, right=170)),
        benchmarked(measured(TEACHER), replace(measured(INT8), end_to_end=measured(TORCH).end_to_end)),
    )

    changes = {one.target: one for one in against_baseline(report(), then).baseline.changes}

    assert changes["student-int8"].quality_points == pytest.approx(3.0)
    assert changes["student-int8"].p50_ratio == pytest.approx(0.25)
    assert changes["control-torch"].quality_points is None
    assert changes["control-torch"].reason == "is not in the earlier report"


def test_quality_on_other_rows_is_not_compared() -> None:
    then = replace(report(), data=replace(report().data, sha256="cd" * 32))

    found = against_baseline(report(), then)

    assert {one.quality_points for one in found.baseline.changes} == {None}
    assert {one.reason for one in found.baseline.changes} == {"quality_points: the two reports are on other rows"}
    assert any("other rows" in note for note in found.notes)


def test_another_machine_is_noted() -> None:
    then = replace(report(), environment=replace(report().environment, cpu="another one"))

    assert any("another one" in note for note in against_baseline(report(), then).notes)


def test_a_report_about_another_task_is_no_baseline() -> None:
    with pytest.raises(BenchmarkError, match="about text2text, and this one about text-classification"):
        against_baseline(report(), replace(report(), task="text2text"))
