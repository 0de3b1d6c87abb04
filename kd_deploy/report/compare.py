"""The report on targets that answered the same rows and were measured in one run: arithmetic alone."""

from collections.abc import Sequence

from kd_deploy.measurement import Benchmarked, Evaluation
from kd_deploy.recipe import Gates
from kd_deploy.report.bootstrap import SETTINGS, resampled_scores
from kd_deploy.report.comparison import comparisons
from kd_deploy.report.difference import differences
from kd_deploy.report.gates import judge
from kd_deploy.report.model import Report
from kd_deploy.report.rows import target_rows
from kd_deploy.report.samples import samples_of
from kd_deploy.report.tasks import task_figures


def compare(
    evaluation: Evaluation,
    benchmarked: Benchmarked,
    *,
    gates: Gates,
    notes: Sequence[str] = (),
) -> Report:
    """The report: every target, each held against the teacher, and the gates.

    Args:
        evaluation: Answers and quality. Its order is the order of the report.
        benchmarked: Time, memory and size.
        gates: Limits for the last student.
        notes: What a reader must know, such as that the data is made up.
    """
    targets = target_rows(evaluation, benchmarked)
    scores = resampled_scores(evaluation)
    comparison = tuple(comparisons(targets, metric=evaluation.main_metric, scores=scores))
    return Report(
        task=evaluation.task,
        main_metric=evaluation.main_metric,
        created=benchmarked.created,
        command=benchmarked.command,
        environment=benchmarked.environment,
        data=evaluation.data,
        targets=targets,
        comparison=comparison,
        differences=tuple(differences(targets, metric=evaluation.main_metric, scores=scores)),
        gates=judge(targets, comparison, gates=gates),
        bootstrap=SETTINGS,
        notes=tuple(notes),
        tasks=tuple(task_figures(evaluation)),
        samples=tuple(samples_of(evaluation)),
    )
