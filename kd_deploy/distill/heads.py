"""The heads of transformers, by task: which class has it, and how its config says what the answers are."""

from typing import Any

from kd_deploy.tasks.configs import SUFFIXES
from kd_deploy.tasks.task import LabelSpace


def auto_class(task: str) -> Any:
    """The class of transformers that loads a checkpoint with the head of a task."""
    import transformers

    return getattr(transformers, f"AutoModel{SUFFIXES[task]}")


def label_fields(labels: LabelSpace) -> dict[str, Any]:
    """The fields of config.json that say what the logits mean; none where that is always the same."""
    if labels.task in ("question-answering", "sentence-embedding", "fill-mask"):
        return {}
    fields = {
        "num_labels": len(labels.names),
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
    }
    # transformers takes the key for whole texts alone.
    return fields if labels.task == "token-classification" else fields | {"problem_type": labels.problem_type}
