"""The heads of transformers, by task: which class has it, and how its config says what the answers are."""

from typing import Any

from kd_deploy.tasks.registry import TASKS, task_of
from kd_deploy.tasks.task import LabelSpace


def auto_class(task: str) -> Any:
    """The class of transformers that loads a checkpoint with the head of a task."""
    import transformers

    return getattr(transformers, f"AutoModel{TASKS[task].HEAD}")


def label_fields(labels: LabelSpace) -> dict[str, Any]:
    """The fields of config.json that say what the logits mean; none where that is always the same."""
    task = task_of(labels)
    if task.NAMES is not None and task.ANSWERS != "number":
        return {}
    fields = {
        "num_labels": len(labels.names),
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
    }
    # transformers takes the key for whole texts alone.
    return fields | {"problem_type": labels.problem_type} if task.LEVEL == "text" else fields
