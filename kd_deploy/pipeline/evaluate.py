"""Every target over the same rows: quality, and agreement with the teacher."""

from collections.abc import Sequence

from kd_deploy import progress
from kd_deploy.errors import DataError
from kd_deploy.measurement import DataUsed, Evaluated, Evaluation
from kd_deploy.pipeline.server import ServerTarget
from kd_deploy.pipeline.targets import Target
from kd_deploy.tasks.text_classification import NAME, Classes, Examples, predicted_classes, score

AnyTarget = Target | ServerTarget


def evaluate(targets: Sequence[AnyTarget], examples: Examples, *, split: str, name: str) -> Evaluation:
    """The answers of every target to the same rows, and what they are worth.

    Args:
        targets: What to judge; agreement is with the first of role teacher.
        examples: Rows with labels.
        split: Which split they are, for the report.
        name: What the data is called, for the report.

    Raises:
        DataError: A target has other classes than the rows.
    """
    answers = {target.name.name: _answers(target, examples) for target in targets}
    teacher = next((target.name.name for target in targets if target.name.role == "teacher"), None)
    return Evaluation(
        task=NAME,
        main_metric=examples.labels.main_metric,
        data=DataUsed(name=name, split=split, n=len(examples), sha256=examples.sha256),
        references=examples.targets,
        class_count=len(examples.labels.names),
        targets=tuple(_evaluated(target, answers, examples, teacher=teacher) for target in targets),
    )


def agreement(left: Sequence[Classes], right: Sequence[Classes]) -> float:
    """The share of rows on which two models give the same answer."""
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def _answers(target: AnyTarget, examples: Examples) -> tuple[Classes, ...]:
    progress.say(f"evaluating {target.name.name} on {len(examples)} rows")
    with target.open() as predictor:
        if predictor.labels.names != examples.labels.names:
            raise DataError(
                f"{target.path} has the classes {list(predictor.labels.names)}, {examples.source} has "
                f"{list(examples.labels.names)}",
                hint="use data with the model's classes",
            )
        return predicted_classes(predictor.logits(examples.inputs), examples.labels)


def _evaluated(
    target: AnyTarget, answers: dict[str, tuple[Classes, ...]], examples: Examples, *, teacher: str | None
) -> Evaluated:
    own = answers[target.name.name]
    return Evaluated(
        target=target.name,
        quality=score(own, examples.targets, class_count=len(examples.labels.names)),
        agreement=agreement(own, answers[teacher]) if teacher else None,
        predictions=own,
    )
