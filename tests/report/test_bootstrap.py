from dataclasses import replace

import numpy as np
import pytest

from kd_deploy.report.bootstrap import interval, resampled_scores, retained_samples
from tests.report.samples import CONTROL, INT8, RIGHT, ROWS, TEACHER, evaluated, evaluation


def test_the_interval_of_an_accuracy_is_that_of_a_binomial() -> None:
    p = RIGHT[TEACHER] / ROWS
    spread = 1.96 * (p * (1 - p) / ROWS) ** 0.5

    found = interval(resampled_scores(evaluation())["teacher"])

    assert found is not None
    assert found.low == pytest.approx(p - spread, abs=0.01)
    assert found.high == pytest.approx(p + spread, abs=0.01)


def test_the_interval_brackets_the_true_ratio_most_of_the_time() -> None:
    generator = np.random.default_rng(1)
    truth, hits = 0.8 / 0.9, 0
    for _ in range(40):
        teacher = evaluated(TEACHER, right=int(generator.binomial(ROWS, 0.9)))
        student = evaluated(INT8, right=int(generator.binomial(ROWS, 0.8)))
        # Independent mistakes: the student's rows are shuffled against the teacher's.
        order = generator.permutation(ROWS)
        predictions = tuple((student.predictions[row][0] ^ (row % 2) ^ (place % 2),) for place, row in enumerate(order))
        scores = resampled_scores(evaluation(teacher, replace(student, predictions=predictions)))
        found = interval(retained_samples(scores["student-int8"], scores["teacher"]))
        hits += found is not None and found.low <= truth <= found.high

    assert hits >= 34


def test_the_same_evaluation_gives_the_same_samples() -> None:
    first, second = (resampled_scores(evaluation()) for _ in range(2))

    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_another_metric_is_scored_by_the_task_on_the_same_rows() -> None:
    by_f1 = resampled_scores(replace(evaluation(), main_metric="f1"))
    by_accuracy = resampled_scores(evaluation())

    # With one class a text, F1 over all decisions is the accuracy.
    assert all(np.allclose(by_f1[name], by_accuracy[name]) for name in by_accuracy)


def test_a_target_without_an_answer_for_every_row_has_no_samples() -> None:
    silent = replace(evaluated(INT8), predictions=())

    scores = resampled_scores(evaluation(evaluated(TEACHER), silent, evaluated(CONTROL)))

    assert set(scores) == {"teacher", "control-torch"}


def test_a_teacher_that_scores_zero_gives_no_interval() -> None:
    assert interval(retained_samples(np.ones(5), np.zeros(5))) is None
