from dataclasses import replace

import pytest

from kd_deploy.measurement import Latency
from kd_deploy.recipe import Gates
from kd_deploy.report.compare import OTHER_LENGTHS
from tests.report.samples import (
    CONTROL,
    INT8,
    RIGHT,
    TEACHER,
    TORCH,
    benchmarked,
    comparison_of,
    evaluated,
    evaluation,
    measured,
    not_measured,
    renamed,
    report,
    target_of,
    writing,
)


def test_ratios_are_those_of_the_figures() -> None:
    found = comparison_of(report(), "student-int8")

    assert found.against == "teacher"
    assert found.retained == pytest.approx(176 / 184)
    assert found.speedup == pytest.approx(8.0 / 0.5)
    assert found.smaller == pytest.approx(12)
    assert found.memory_ratio == pytest.approx(90 / 600)
    assert found.retained_low < found.retained < found.retained_high
    assert found.reason is None


def test_every_target_but_the_teacher_is_compared() -> None:
    assert [one.target for one in report().comparison] == ["student-torch", "student-int8", "control-torch"]


def test_a_target_compared_with_itself_keeps_everything() -> None:
    twin = renamed(TEACHER, "twin")
    seen = evaluation(evaluated(TEACHER), replace(evaluated(TEACHER), target=twin))
    timed = benchmarked(measured(TEACHER), replace(measured(TEACHER), target=twin))

    found = comparison_of(report(seen, timed), "twin")

    assert (found.retained, found.retained_low, found.retained_high) == (1.0, 1.0, 1.0)
    assert (found.speedup, found.smaller, found.memory_ratio) == (1.0, 1.0, 1.0)


def test_percentiles_come_from_the_raw_samples() -> None:
    found = target_of(report(), "student-int8")

    assert found.end_to_end.p50_ms == pytest.approx(0.5)
    assert found.end_to_end.n == 5
    assert found.throughput.texts_per_s == pytest.approx(2000)
    assert found.latency[0].p50_ms == pytest.approx(0.25)
    assert found.latency[0].p50_ms < found.latency[0].p90_ms < found.latency[0].p99_ms


def test_what_was_not_measured_is_none_with_its_reason() -> None:
    reason = "CUDAExecutionProvider is not in this onnxruntime build"
    made = report(timed=benchmarked(measured(TEACHER), not_measured(INT8, reason)))

    found = target_of(made, "student-int8")

    assert (found.latency, found.end_to_end, found.throughput, found.memory, found.start) == (None,) * 5
    assert f"latency, end_to_end, throughput, memory, start: {reason}" in found.reason
    compared = comparison_of(made, "student-int8")
    assert compared.retained is not None
    assert compared.speedup is None
    assert "speedup: the time from text to answer on cuda, threads 1 is not known for both" in compared.reason


def test_a_shape_that_was_not_measured_is_none_with_its_reason() -> None:
    long = Latency(batch_size=1, sequence_length=512, timing=None, reason="takes at most 128 tokens")
    made = report(timed=benchmarked(replace(measured(TEACHER), latency=(long,))))

    found = target_of(made, "teacher").latency[0]

    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.n) == (None,) * 4
    assert found.reason == "takes at most 128 tokens"


def test_a_target_that_was_only_evaluated_or_only_measured_has_a_row() -> None:
    made = report(evaluation(evaluated(TEACHER), evaluated(TORCH)), benchmarked(measured(TEACHER), measured(INT8)))

    only_evaluated, only_measured = target_of(made, "student-torch"), target_of(made, "student-int8")

    assert only_evaluated.end_to_end is None
    assert "was not benchmarked" in only_evaluated.reason
    assert only_measured.quality is None
    assert "was not evaluated" in only_measured.reason
    assert comparison_of(made, "student-int8").reason.startswith("retained, retained_low, retained_high: accuracy is")


def test_speed_is_compared_on_the_same_provider_and_threads() -> None:
    fast = replace(measured(TEACHER, threads=4), end_to_end=measured(TORCH).end_to_end)
    made = report(timed=benchmarked(measured(TEACHER), fast, measured(INT8), measured(INT8, threads=4)))

    speedups = {one.threads: one.speedup for one in made.comparison if one.target == "student-int8"}

    assert speedups == {1: pytest.approx(16), 4: pytest.approx(4)}


def test_without_a_teacher_every_ratio_says_why() -> None:
    made = report(evaluation(evaluated(INT8)), benchmarked(measured(INT8)))

    found = made.comparison[0]

    assert (found.against, found.retained, found.speedup, found.smaller, found.memory_ratio) == (None,) * 5
    assert found.reason == "there is no teacher among the targets"


def test_a_quality_that_is_not_a_number_is_none() -> None:
    broken = replace(evaluated(INT8), quality={"accuracy": None})
    made = report(evaluation(evaluated(TEACHER), broken))

    found = target_of(made, "student-int8")

    assert found.quality == {"accuracy": None}
    assert "quality.accuracy: is not a finite number" in found.reason


def test_the_difference_is_between_student_and_control_of_one_form() -> None:
    (found,) = report().differences

    assert (found.student, found.control) == ("student-torch", "control-torch")
    assert found.points == pytest.approx(100 * (RIGHT[TORCH] - RIGHT[CONTROL]) / 200)
    assert found.low < found.points < found.high


def test_gates_judge_the_last_student() -> None:
    gates = report(gates=Gates(min_retained=0.97, min_speedup=10, max_size_mb=7.5)).gates

    assert [(one.name, one.target, one.passed) for one in gates] == [
        ("min_retained", "student-int8", False),
        ("min_speedup", "student-int8", True),
        ("max_size_mb", "student-int8", True),
    ]
    assert [one.value for one in gates] == pytest.approx([176 / 184, 16, 7.5])


def test_a_gate_that_is_not_set_is_not_judged() -> None:
    assert [one.name for one in report(gates=Gates(min_speedup=1)).gates] == ["min_speedup"]


def test_an_unknown_value_does_not_pass() -> None:
    made = report(timed=benchmarked(measured(TEACHER), not_measured(INT8, "no GPU")), gates=Gates(min_speedup=1))

    assert (made.gates[0].value, made.gates[0].passed) == (None, False)
    assert made.gates[0].reason


def test_gates_without_a_student_do_not_pass() -> None:
    made = report(evaluation(evaluated(TEACHER)), benchmarked(measured(TEACHER)))

    assert {(one.passed, one.target, one.reason) for one in made.gates} == {
        (False, None, "there is no student among the targets")
    }


@pytest.mark.parametrize(("tokens", "told"), [(1000, False), (930, False), (1070, False), (880, True), (1120, True)])
def test_a_speedup_that_answers_of_another_length_make_is_told(tokens: int, told: bool) -> None:
    made = report(timed=benchmarked(writing(TEACHER, tokens=1000), writing(INT8, tokens=tokens)))

    assert comparison_of(made, "student-int8").speedup == pytest.approx(16)
    assert [note.startswith(OTHER_LENGTHS) for note in made.notes] == [True] * told


def test_the_note_on_lengths_has_the_throughput_of_both() -> None:
    targets = (writing(TEACHER, tokens=1000), writing(TORCH, tokens=500), writing(INT8, tokens=500))
    made = report(timed=benchmarked(*targets), notes=["Made-up texts."])

    speeds = [target_of(made, name).end_to_end.tokens_per_s for name in ("teacher", "student-torch", "student-int8")]
    teachers, torchs, int8s = (f"{one:.0f}" for one in speeds)
    assert made.notes == (
        "Made-up texts.",
        (
            f"{OTHER_LENGTHS} On cpu, threads 1, the teacher writes {teachers} tokens a second, "
            f"student-torch {torchs}, student-int8 {int8s}."
        ),
    )
    assert report(timed=benchmarked(*targets), notes=made.notes).notes == made.notes


def test_throughputs_of_different_places_are_not_compared() -> None:
    timed = benchmarked(writing(TEACHER, tokens=1000), writing(INT8, tokens=500, provider="cuda"))

    assert report(timed=timed).notes == ()
    assert report(timed=benchmarked(measured(TEACHER), writing(INT8, tokens=500))).notes == ()
