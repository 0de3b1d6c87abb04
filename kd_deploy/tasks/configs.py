"""What the config.json of a checkpoint says of its answers: the task of its head, and the classes."""

from typing import Any

from kd_deploy.tasks.task import LabelSpace, ProblemType

SUFFIXES = {
    "text-classification": "ForSequenceClassification",
    "sentence-similarity": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "fill-mask": "ForMaskedLM",
    "sentence-embedding": "",  # the encoder alone
}  # of the classes of transformers
SPAN = ("start", "end")


def labels_in(config: dict[str, Any], task: str) -> LabelSpace | None:
    """The answers that the head of a checkpoint has learned to give; None where it has no head of this task.

    Names that only count (LABEL_0, LABEL_1) are given as plain numbers.
    """
    if task_in(config) != task:
        return None
    if task == "sentence-embedding":
        return LabelSpace(task=task, names=(), problem_type="regression")
    if task == "fill-mask":
        return LabelSpace(task=task, names=(), problem_type="single_label_classification")
    if task == "question-answering":
        return LabelSpace(task=task, names=SPAN, problem_type="single_label_classification")
    if task == "sentence-similarity":
        return LabelSpace(task=task, names=("score",), problem_type="regression")
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
    if name.endswith(SUFFIXES["text-classification"]):
        single = len(config.get("id2label") or {}) == 1
        numbers = config.get("problem_type") == "regression" or (single and config.get("problem_type") is None)
        return "sentence-similarity" if numbers else "text-classification"
    if name.endswith("Model"):
        return "sentence-embedding"
    return next((task for task, suffix in SUFFIXES.items() if suffix and name.endswith(suffix)), None)
