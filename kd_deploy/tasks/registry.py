"""The tasks that there are, by name."""

from collections.abc import Sequence

from kd_deploy.tasks import (
    fill_mask,
    question_answering,
    sentence_embedding,
    sentence_similarity,
    text_classification,
    token_classification,
)
from kd_deploy.tasks.task import Examples, LabelSpace, Prediction, Task

_ALL: tuple[Task, ...] = (
    text_classification,
    token_classification,
    question_answering,
    sentence_similarity,
    sentence_embedding,
    fill_mask,
)
TASKS: dict[str, Task] = {task.NAME: task for task in _ALL}

STATES = "last_hidden_state"


def task_of(labels: LabelSpace) -> Task:
    """The task whose answers these are."""
    return TASKS[labels.task]


def scores(predictions: Sequence[Prediction], examples: Examples) -> dict[str, float]:
    """What predictions of examples are worth, metric by metric."""
    task = task_of(examples.labels)
    return task.metrics(task.statistics(predictions, task.references(examples), examples.labels))


def hides(labels: LabelSpace) -> bool:
    """Whether the task is to fill in tokens of the vocabulary that a text does not show."""
    return labels.task == fill_mask.NAME


def graph_outputs(task: Task) -> tuple[str, ...]:
    """What a graph gives: the logits, and for vectors the states of the tokens, for tools that pool them themselves."""
    return (*task.OUTPUTS, *((STATES,) if task.ANSWERS == "vector" else ()))


def outputs_of_tokens(task: Task) -> frozenset[str]:
    """Which outputs of a graph are a row for each token, [batch, sequence, ...]; the others are one for each text."""
    return frozenset({STATES}) if task.LEVEL == "text" else frozenset(task.OUTPUTS)


def main_metric(examples: Examples) -> str:
    """The metric by which models are chosen and judged on such examples."""
    return task_of(examples.labels).main_metric(examples)
