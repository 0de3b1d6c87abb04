"""What the config.json of a checkpoint says of its answers: the task of its head, and the classes."""

from typing import Any

from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.task import LabelSpace, ProblemType

BARE = "Model"  # what the name of a class without a head ends with


def labels_in(config: dict[str, Any], task: str) -> LabelSpace | None:
    """The answers that the head of a checkpoint has learned to give; None where it has no head of this task.

    Names that only count (LABEL_0, LABEL_1) are given as plain numbers.
    """
    if task_in(config) != task:
        return None
    kind = TASKS[task]
    if kind.NAMES is not None:
        always: ProblemType = "single_label_classification" if kind.ANSWERS == "classes" else "regression"
        return LabelSpace(task=task, names=kind.NAMES, problem_type=always)
    by_id = {int(key): str(name) for key, name in (config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}).items()}
    names = tuple(by_id[key] for key in sorted(by_id))
    if names == tuple(f"LABEL_{index}" for index in range(len(names))):
        names = tuple(str(index) for index in range(len(names)))
    multi = config.get("problem_type") == "multi_label_classification"
    problem: ProblemType = "multi_label_classification" if multi else "single_label_classification"
    return LabelSpace(task=task, names=names, problem_type=problem)


def task_in(config: dict[str, Any]) -> str | None:
    """The task whose head a checkpoint has; None where it has one that we do not know."""
    name = str((config.get("architectures") or [""])[0])
    problem, single = config.get("problem_type"), len(config.get("id2label") or {}) == 1
    numbers = problem == "regression" or (single and problem is None)
    fitting = [task for task in TASKS.values() if name.endswith(task.HEAD or BARE)]
    # Classes and numbers come out of the same head.
    return next((task.NAME for task in fitting if len(fitting) == 1 or (task.ANSWERS == "number") == numbers), None)
