"""What a config.json says of a model's answers: the task of its head, the classes, the marks around a text."""

from typing import Any

from kd_deploy.tasks import fill_mask
from kd_deploy.tasks.encoding import Marks
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.task import LabelSpace, ProblemType

BARE = "Model"  # what the name of a class without a head ends with
# What transformers calls the classes of a head besides the head's own name.
ALIASES = {"ForCausalLM": ("LMHeadModel",), "ForSeq2SeqLM": ("ForConditionalGeneration", "MTModel")}


def labels_in(config: dict[str, Any], task: str) -> LabelSpace | None:
    """The answers that the head of a checkpoint has learned to give; None where it has no head of this task.

    Vectors are made without a head: of a masked language model too, whose own is left out. Names that only count
    (LABEL_0, LABEL_1) are given as plain numbers.
    """
    kind, has = TASKS[task], task_in(config)
    if has != task and not (kind.ANSWERS == "vector" and has == fill_mask.NAME):
        return None
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
    fitting = [task for task in TASKS.values() if name.endswith((task.HEAD or BARE, *ALIASES.get(task.HEAD, ())))]
    if any(task.HEAD for task in fitting):  # MarianMTModel has a head, whatever its name ends with
        fitting = [task for task in fitting if task.HEAD]
    # Classes and numbers come out of the same head.
    return next((task.NAME for task in fitting if len(fitting) == 1 or (task.ANSWERS == "number") == numbers), None)


def marks_in(config: dict[str, Any], generation: dict[str, Any]) -> Marks:
    """The tokens around a text that a checkpoint writes, by config.json and, before it, generation_config.json."""

    def said(key: str) -> tuple[int, ...]:
        value = generation.get(key) if generation.get(key) is not None else config.get(key)
        found = value if isinstance(value, list) else [value]
        return tuple(one for one in found if isinstance(one, int))

    start = said("decoder_start_token_id")
    words = generation.get("bad_words_ids") or config.get("bad_words_ids") or []
    return Marks(
        starts=(*start, *said("forced_bos_token_id")) if start else (),
        ends=said("eos_token_id"),
        never=tuple(one[0] for one in words if len(one) == 1),
    )
