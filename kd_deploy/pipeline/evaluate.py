"""Every target over the same rows: quality, and agreement with the teacher."""

from collections.abc import Sequence
from math import isfinite, isnan

from kd_deploy import progress
from kd_deploy.errors import BundleError, DataError
from kd_deploy.measurement import DataUsed, Evaluated, Evaluation, TargetName
from kd_deploy.pipeline.answers import Answers, AnyTarget, KeptAnswers
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks.registry import as_asked, main_metric, scores, task_of, writes
from kd_deploy.tasks.scoring import commonest_share
from kd_deploy.tasks.splits import MOST_VECTORS
from kd_deploy.tasks.task import Examples, Prediction

SAMPLES = 5  # inputs that the report shows the answers to
AT_ONCE = 512  # rows between two steps of the bar: enough of them to be batched by length


def evaluate(
    targets: Sequence[AnyTarget], examples: Examples, *, split: str, name: str, kept: KeptAnswers | None = None
) -> Evaluation:
    """The answers of every target to the same rows, and what they are worth.

    Args:
        targets: What to judge; agreement is with the first of role teacher.
        examples: Rows with labels.
        split: Which split they are, for the report.
        name: What the data is called, for the report.
        kept: Answers to these rows, for models that have not changed. None: all are asked.

    Raises:
        DataError: A target has other classes than the rows.
        BundleError: A target gives numbers that are none.
    """
    task = task_of(examples.labels)
    samples = as_asked(examples.inputs[:SAMPLES], task) if writes(examples.labels) else ()
    shown = tuple(str(one) for one in samples)
    if not examples.answered and len(examples) > MOST_VECTORS:
        progress.say(
            f"{examples.source} has no scores: targets are compared on {MOST_VECTORS} of its {len(examples)} texts"
        )
        examples = examples.some([place * len(examples) // MOST_VECTORS for place in range(MOST_VECTORS)])
    asked = [_once(target, examples, shown=shown, kept=kept) for target in targets]  # two may have one name
    teacher = next((own for target, own in zip(targets, asked, strict=True) if target.name.role == "teacher"), None)
    if not examples.answered:
        if teacher is None:
            raise DataError(
                f"{examples.source} does not say what is right: there is nothing to judge by",
                hint="name a teacher to be compared with: --against TEACHER",
            )
        examples = examples.answered_by(teacher.predictions)
    return Evaluation(
        task=task.NAME,
        main_metric=main_metric(examples),
        data=DataUsed(name=name, split=split, n=len(examples), sha256=examples.sha256, guess=_guess(examples)),
        references=task.references(examples),
        labels=examples.labels.names,
        problem_type=examples.labels.problem_type,
        targets=tuple(
            _evaluated(target.name, own, examples, teacher=teacher.predictions if teacher else None)
            for target, own in zip(targets, asked, strict=True)
        ),
        samples=shown,
    )


def _guess(examples: Examples) -> float | None:
    """What always saying the commonest class is worth, where each row has one class."""
    return commonest_share(examples.targets) if main_metric(examples) == "accuracy" else None


def _once(target: AnyTarget, examples: Examples, *, shown: tuple[str, ...], kept: KeptAnswers | None) -> Answers:
    before = kept.of(target) if kept else None
    if before is not None:
        progress.say(f"{target.name.name} has answered these rows before, and has not changed")
        return before
    found = _answers(target, examples, shown=shown)
    if kept:
        kept.keep(target, found)
    return found


def _answers(target: AnyTarget, examples: Examples, *, shown: tuple[str, ...]) -> Answers:
    progress.say(f"evaluating {target.name.name} on {len(examples)} rows")
    with target.open() as predictor:
        if predictor.labels.task != examples.labels.task:
            raise DataError(
                f"{target.path} is for {predictor.labels.task}, and {examples.source} was read for "
                f"{examples.labels.task}",
                hint="compare models of one task",
            )
        if predictor.labels.names != examples.labels.names:
            raise DataError(
                f"{target.path} has the classes {list(predictor.labels.names)}, {examples.source} has "
                f"{list(examples.labels.names)}",
                hint="use data with the model's classes",
            )
        parts = examples.in_parts(AT_ONCE)
        counted = progress.track(parts, f"evaluating {target.name.name}", total=len(parts))
        predictions = tuple(one for some in counted for one in predictor.predictions(some))
        broken = next((row for row, one in enumerate(predictions) if isinstance(one, float) and isnan(one)), None)
        if broken is not None:
            raise BundleError(
                f"{target.path} answers row {broken} of {examples.source} with nan: its weights are broken",
                hint="train or export it again",
            )
        # A server that teaches tells classes alone.
        written = predictor.predict(shown) if shown and isinstance(predictor, Predictor) else []
        return Answers(predictions=predictions, samples=tuple(one.text for one in written))


def _evaluated(
    target: TargetName, own: Answers, examples: Examples, *, teacher: tuple[Prediction, ...] | None
) -> Evaluated:
    return Evaluated(
        target=target,
        quality={
            metric: value if isfinite(value) else None for metric, value in scores(own.predictions, examples).items()
        },
        agreement=None if teacher is None else task_of(examples.labels).agreement(own.predictions, teacher),
        predictions=own.predictions,
        samples=own.samples,
    )
