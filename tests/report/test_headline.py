from dataclasses import replace

import pytest

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
        " Distillation brought student-torch +7.00 points of accuracy against labels alone. It passes every gate."
    )


def test_a_larger_student_is_told_by_both_sizes() -> None:
    larger = replace(measured(INT8), size_bytes=225_000_000)

    told = headline_text(report(timed=benchmarked(measured(TEACHER), larger), gates=Gates(min_speedup=1)))

    assert "times as fast and is larger, with 225 MB against the teacher's 90.0. Distillation" in told


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
        f"student-int8 has no teacher beside it. Distillation brought student-torch {points:+.2f} points of accuracy"
    )


def test_a_student_that_was_better_off_without_a_teacher_is_said_to_be() -> None:
    targets = (evaluated(TEACHER), evaluated(CONTROL, right=190), evaluated(TORCH), evaluated(INT8, right=150))

    told = headline_text(report(evaluation(*targets)))

    assert " Distillation brought student-torch -6.00 points of accuracy: on labels alone it is better." in told


def test_a_difference_that_may_be_chance_is_said_to_be() -> None:
    targets = (evaluated(TEACHER), evaluated(CONTROL), evaluated(TORCH, right=165), evaluated(INT8))
    known = report(evaluation(*targets))
    alone = replace(known.differences[0], low=None, high=None)

    assert " Distillation brought student-torch +0.50 points of accuracy, which may be chance." in headline_text(known)
    unsure = headline_text(replace(known, differences=(alone,)))
    assert " brought student-torch +0.50 points of accuracy against labels alone. It" in unsure
    assert "Distillation" not in headline_text(replace(known, differences=()))


def test_points_of_perplexity_say_what_they_are() -> None:
    made = report()
    gain = replace(made.differences[0], metric="perplexity", points=10.0, low=9.0, high=11.0)

    told = headline_text(replace(made, differences=(gain,)))

    assert " +10.00 points of perplexity (hundredths of its logarithm, more are better) against labels alone." in told


def test_a_teacher_that_says_the_commonest_class_is_no_teacher() -> None:
    def told(guess: float | None) -> str:
        made = report()
        return headline_text(replace(made, data=replace(made.data, guess=guess)))

    assert " The teacher is right no more often than always saying the commonest class (92.0 %)." in told(0.92)
    assert "commonest" not in told(0.91)
    assert "commonest" not in told(None)


def test_what_is_kept_of_the_other_tasks_is_told() -> None:
    on_topic = replace(evaluation(), main_metric="accuracy")
    made = report(replace(evaluation(), further={"topic": on_topic}))

    assert " On topic it keeps 95.7 % of the teacher's accuracy." in headline_text(made)


def test_a_teacher_that_is_worth_nothing_is_named() -> None:
    nothing = replace(evaluated(TEACHER), quality={"accuracy": 0.0, "macro_f1": 0.0})

    told = headline_text(report(evaluation(nothing, evaluated(INT8)), benchmarked(measured(TEACHER), measured(INT8))))

    assert " The teacher's accuracy is 0: there was nothing to learn." in told


def test_the_gates_of_another_run_are_told_by_its_name() -> None:
    made = report(gates=Gates(min_retained=0.9))
    other = replace(made.gates[0], target="other/student-int8", passed=False)

    told = headline_text(replace(made, gates=(other, *made.gates)))

    assert told.endswith(" It passes every gate. other/student-int8 does not pass min_retained.")


def test_where_there_is_no_teacher_nothing_is_held_against_one() -> None:
    made = report(evaluation(evaluated(INT8)), benchmarked(measured(INT8)), gates=Gates())

    assert headline_text(made) == "No teacher is in this report: its figures stand side by side."


def test_a_run_without_a_teacher_is_judged_by_its_own_control() -> None:
    alone = evaluation(evaluated(TORCH), evaluated(INT8), evaluated(CONTROL, right=180))
    first, second = report(), report(alone, benchmarked(measured(TORCH), measured(INT8), measured(CONTROL)))
    joint = replace(
        first,
        targets=(*first.targets, *(replace(one, name=f"second/{one.name}") for one in second.targets)),
        comparison=(*first.comparison, *(replace(one, target=f"second/{one.target}") for one in second.comparison)),
        differences=(
            *first.differences,
            *(replace(one, student=f"second/{one.student}") for one in second.differences),
        ),
        gates=(),
    )

    assert first.differences[0].points != second.differences[0].points == pytest.approx(-1)
    told = headline_text(joint)
    assert (
        "second/student-int8 has no teacher beside it. Distillation brought second/student-torch -1.00 points" in told
    )
