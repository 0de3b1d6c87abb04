"""The report on targets that answered the same rows and were measured in one run: arithmetic alone."""

from collections.abc import Iterator, Sequence

from kd_deploy.measurement import Benchmarked, Evaluation
from kd_deploy.recipe import Gates
from kd_deploy.report.bootstrap import SETTINGS, resampled_scores
from kd_deploy.report.cells import per_second
from kd_deploy.report.comparison import comparisons
from kd_deploy.report.difference import differences
from kd_deploy.report.gates import judge
from kd_deploy.report.model import Comparison, Report, Target
from kd_deploy.report.rows import target_rows
from kd_deploy.report.samples import samples_of
from kd_deploy.report.tasks import task_figures

OTHER_LENGTHS = "Speedup is taken over whole answers, which may be longer or shorter than the teacher's."
NEAR = 0.1  # by how much the ratio of tokens a second may differ from the speedup


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
    known = (one for one in notes if not one.startswith(OTHER_LENGTHS))  # those of an earlier report of the same run
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
        notes=(*known, *_other_lengths(targets, comparison)),
        tasks=tuple(task_figures(evaluation)),
        samples=tuple(samples_of(evaluation)),
    )


def _other_lengths(targets: Sequence[Target], comparison: Sequence[Comparison]) -> Iterator[str]:
    """Who writes more or fewer tokens a second than the speedup would have it; a note for each place."""
    writing = {(one.name, one.provider, one.threads): _tokens_per_s(one) for one in targets}
    told: dict[tuple[str | None, int | None, str], list[str]] = {}
    for one in comparison:
        if one.against is None or one.speedup is None:
            continue
        place = (one.provider, one.threads)
        own, teachers = writing[one.target, *place], writing[one.against, *place]
        if own and teachers and abs(own / teachers / one.speedup - 1) > NEAR:
            first = f"the {one.against} writes {per_second(teachers).text} tokens a second"
            told.setdefault((*place, first), []).append(f"{one.target} {per_second(own).text}")
    for (provider, threads, first), others in told.items():
        yield f"{OTHER_LENGTHS} On {provider}, threads {threads}, {first}, {', '.join(others)}."


def _tokens_per_s(target: Target) -> float | None:
    return target.end_to_end.tokens_per_s if target.end_to_end else None
