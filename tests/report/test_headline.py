from kd_deploy.recipe import Gates
from kd_deploy.report.headline import headline_text
from tests.report.samples import (
    CONTROL,
    INT8,
    TEACHER,
    TORCH,
    benchmarked,
    evaluated,
    evaluation,
    measured,
    not_measured,
    report,
)


def test_the_verdict_is_one_sentence_and_the_gates() -> None:
    assert headline_text(report()) == (
        "student-int8 keeps 95.7 % of the teacher's accuracy, answers 16.0 times as fast and is 12.0 times smaller."
        " It passes every gate."
    )


def test_a_missed_gate_is_named() -> None:
    made = report(gates=Gates(min_retained=0.99, min_speedup=100, max_size_mb=100))

    assert headline_text(made).endswith(" It does not pass min_retained, min_speedup.")


def test_what_is_unknown_is_not_claimed() -> None:
    made = report(timed=benchmarked(measured(TEACHER), not_measured(INT8, "no GPU")), gates=Gates(max_size_mb=9))

    assert headline_text(made).startswith(
        "student-int8 keeps 95.7 % of the teacher's accuracy and is 12.0 times smaller."
    )


def test_a_report_without_a_student_says_so() -> None:
    made = report(evaluation(evaluated(TEACHER)), benchmarked(measured(TEACHER)), gates=Gates(min_speedup=2))

    assert headline_text(made) == "No student was held against a teacher."


def test_without_a_teacher_the_control_says_what_was_taught() -> None:
    targets = (CONTROL, TORCH, INT8)
    made = report(evaluation(*map(evaluated, targets)), benchmarked(*map(measured, targets)))

    points = made.differences[0].points
    assert points is not None
    assert headline_text(made).startswith(
        f"student-int8 has no teacher beside it; what one taught it adds {points:+.2f} points of accuracy to labels"
    )
