"""The further tasks of a student: each target beside the task's own teacher, by arithmetic alone."""

from collections.abc import Iterator

from kd_deploy.measurement import Evaluated, Evaluation
from kd_deploy.report.bootstrap import resampled_scores
from kd_deploy.report.comparison import NO_INTERVAL, Ratio, Scores, retained_interval, share_kept
from kd_deploy.report.model import TaskFigures
from kd_deploy.report.reasons import join_reasons

THE_TEACHER = "it is what the others are held against"


def task_figures(evaluation: Evaluation) -> Iterator[TaskFigures]:
    """An entry for every target of every further task, in the order of the evaluation."""
    for task, answers in evaluation.further.items():
        teacher = next((one for one in answers.targets if one.target.role == "teacher"), None)
        scores = resampled_scores(answers)
        for one in answers.targets:
            yield _figures(task, one, teacher, answers=answers, scores=scores)


def _figures(
    task: str, one: Evaluated, teacher: Evaluated | None, *, answers: Evaluation, scores: Scores
) -> TaskFigures:
    metric = answers.main_metric
    retained, sure = Ratio(value=None, reason="there is no teacher among the targets"), None
    if teacher is one:
        retained = Ratio(value=None, reason=THE_TEACHER)
    elif teacher is not None:
        retained = share_kept(one.quality[metric], teacher.quality[metric], metric=metric)
        sure = retained_interval(one.target.name, teacher.target.name, metric=metric, scores=scores)
    unsure = retained.reason or (None if sure else NO_INTERVAL)
    return TaskFigures(
        task=task,
        target=one.target.name,
        role=one.target.role,
        metric=metric,
        n=answers.data.n,
        quality=one.quality[metric],
        agreement=one.agreement,
        retained=retained.value,
        retained_low=None if unsure or not sure else sure.low,
        retained_high=None if unsure or not sure else sure.high,
        reason=join_reasons({"retained": retained.reason, "retained_low": unsure, "retained_high": unsure}),
    )
