"""A score of which less is better, from the gate of an export to the sentence over a report."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from kd_deploy.distill.training_arguments import training_arguments
from kd_deploy.export.gate import Limit
from kd_deploy.measurement import LOWER_IS_BETTER, DataUsed, Evaluated, Evaluation, TargetName, worth
from kd_deploy.recipe import Gates
from kd_deploy.report.baseline import against_baseline
from kd_deploy.report.comparison import share_kept
from kd_deploy.report.headline import headline_text
from kd_deploy.report.model import Report
from kd_deploy.tasks import text_generation
from kd_deploy.tasks.task import Examples, LabelSpace
from tests.report.samples import CONTROL, INT8, ROWS, TEACHER, TORCH, comparison_of, report
from tests.tiny import SETTINGS

LABELS = LabelSpace(task="text-generation", names=(), problem_type="single_label_classification")
TOKENS, CHARACTERS = 10.0, 40.0
NATS = {TEACHER: 1.0, TORCH: 1.1, INT8: 1.15, CONTROL: 1.3}  # a token, on the mean
POINT = 0.01


def evaluated(target: TargetName, *, nats: float | None = None) -> Evaluated:
    """A target that is a little surer of some texts than of others."""
    level = NATS[target] if nats is None else nats
    sums = [TOKENS * (level + 0.2 * math.sin(row + 10 * level)) for row in range(ROWS)]
    predictions = tuple((one, TOKENS, CHARACTERS, 3.0) for one in sums)
    quality = text_generation.metrics(text_generation.statistics(predictions, (), LABELS))
    return Evaluated(target=target, quality=quality, agreement=1.0, predictions=predictions)


def evaluation(*targets: Evaluated) -> Evaluation:
    return Evaluation(
        task="text-generation",
        main_metric="perplexity",
        data=DataUsed(name="texts", split="test", n=ROWS, sha256="cd" * 32),
        references=((),) * ROWS,
        labels=(),
        problem_type="single_label_classification",
        targets=targets or tuple(evaluated(one) for one in NATS),
    )


def made(*targets: Evaluated, gates: Gates | None = None) -> Report:
    return report(evaluation(*targets), gates=gates)


def perplexity_of(found: Report, name: str) -> float:
    value = next(one.quality["perplexity"] for one in found.targets if one.name == name and one.quality)
    assert value is not None
    return value


def test_worth_rises_where_a_perplexity_falls() -> None:
    assert worth("perplexity", 1.0) == 0
    assert worth("perplexity", 20.0) < worth("perplexity", 10.0) < 0
    assert worth("perplexity", 10.0) - worth("perplexity", 10.0 * math.exp(POINT)) == pytest.approx(POINT)
    assert [worth(metric, 0.25) for metric in ("accuracy", "bleu")] == [0.25, 0.25]


def test_each_score_of_a_language_model_is_told_apart() -> None:
    found = evaluated(TEACHER).quality

    assert LOWER_IS_BETTER & set(found) == {"perplexity"}


@pytest.mark.parametrize(("metric", "kept"), [("perplexity", 0.8), ("bleu", 1.25)])
def test_what_is_kept_is_at_most_one_for_who_is_worse(metric: str, kept: float) -> None:
    assert share_kept(10.0, 8.0, metric=metric).value == pytest.approx(kept)
    assert share_kept(8.0, 8.0, metric=metric).value == 1
    assert share_kept(None, 8.0, metric=metric).reason == f"{metric} is not known for both"


def test_the_share_and_its_interval_are_the_teachers_over_the_students() -> None:
    found = made()

    compared = comparison_of(found, "student-torch")

    expected = perplexity_of(found, "teacher") / perplexity_of(found, "student-torch")
    assert compared.retained == pytest.approx(expected)
    assert compared.retained_low is not None
    assert compared.retained_high is not None
    assert compared.retained_low < expected < compared.retained_high < 1


def test_a_model_compared_with_itself_keeps_everything() -> None:
    twin = replace(evaluated(TEACHER), target=replace(TORCH, name="twin"))

    compared = comparison_of(made(evaluated(TEACHER), twin), "twin")

    assert (compared.retained, compared.retained_low, compared.retained_high) == (1.0, 1.0, 1.0)


def test_the_difference_to_the_control_is_in_hundredths_of_a_nat() -> None:
    found = made()

    (one,) = found.differences

    ratio = perplexity_of(found, "control-torch") / perplexity_of(found, "student-torch")
    assert one.metric == "perplexity"
    assert one.points == pytest.approx(100 * math.log(ratio))
    assert one.points == pytest.approx(20, abs=3)
    assert one.points is not None
    assert one.low is not None
    assert one.high is not None
    assert 0 < one.low < one.points < one.high


def test_a_student_worse_than_its_control_has_a_difference_below_zero() -> None:
    (one,) = made(evaluated(TEACHER), evaluated(TORCH), evaluated(CONTROL, nats=0.9)).differences

    assert one.points is not None
    assert one.high is not None
    assert one.points < one.high < 0


@pytest.mark.parametrize(("nats", "passed"), [(1.0, True), (1.04, True), (1.2, False)])
def test_the_gate_asks_for_a_share_of_the_teachers_worth(nats: float, passed: bool) -> None:
    targets = (evaluated(TEACHER), evaluated(TORCH), evaluated(INT8, nats=nats))
    found = made(*targets, gates=Gates(min_retained=0.95))

    (gate,) = found.gates

    assert gate.passed is passed
    assert gate.value == comparison_of(found, "student-int8").retained


def test_the_headline_has_both_perplexities() -> None:
    told = headline_text(made())

    kept = comparison_of(made(), "student-int8").retained
    assert kept is not None
    assert kept < 1
    own, teachers = perplexity_of(made(), "student-int8"), perplexity_of(made(), "teacher")
    assert f"student-int8 has a perplexity of {own:.4g} against the teacher's {teachers:.4g}, answers" in told


def test_since_a_baseline_a_lower_perplexity_is_a_gain() -> None:
    before, now = made(evaluated(TEACHER), evaluated(TORCH, nats=1.2)), made(evaluated(TEACHER), evaluated(TORCH))

    baseline = against_baseline(now, before).baseline

    assert baseline is not None
    change = next(one for one in baseline.changes if one.target == "student-torch")
    assert change.quality_points is not None
    assert change.quality_points > 0


@pytest.mark.parametrize(("found", "allowed"), [(10.0, True), (9.0, True), (10.05, True), (10.2, False)])
def test_the_gate_of_an_export_counts_nats(found: float, allowed: bool) -> None:
    rows = Examples(inputs=("one two",), targets=((),), labels=LABELS, source="rows.jsonl", sha256="0" * 64)
    limit = Limit(examples=rows, reference=10.0, max_drop=POINT)

    assert limit.drop(found) == pytest.approx(math.log(found / 10.0))
    assert limit.allows(limit.drop(found)) is allowed


@pytest.mark.parametrize(("metric", "greater"), [("perplexity", False), ("bleu", True), ("accuracy", True)])
def test_the_trainer_is_told_which_way_is_better(metric: str, greater: bool, tmp_path: Path) -> None:
    found = training_arguments(nn.Linear(1, 1), SETTINGS, work=tmp_path, metric=metric, steps=4)

    assert (found.metric_for_best_model, found.greater_is_better) == (metric, greater)
    assert found.load_best_model_at_end
