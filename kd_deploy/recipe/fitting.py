"""What goes together in a recipe: the students of a task, its ways to teach, and its usual objective."""

from collections.abc import Iterator
from typing import Any, Literal

TaskName = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "sentence-similarity",
    "sentence-embedding",
    "fill-mask",
]
STUDENTS: dict[TaskName, tuple[str, ...]] = {
    "text-classification": ("transformer", "bilstm", "static"),
    "token-classification": ("transformer", "bilstm"),
    "question-answering": ("transformer", "bilstm"),
    "sentence-similarity": ("transformer",),
    "sentence-embedding": ("transformer", "static"),
    "fill-mask": ("transformer",),
}
# Where the answers are no classes, a divergence between distributions says nothing.
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    "sentence-similarity": [{"term": "logit_mse", "weight": 0.9}, {"term": "hard_labels", "weight": 0.1}],
    "sentence-embedding": [{"term": "logit_mse"}],
}
WITHOUT_LABELS = ("sentence-embedding",)


def with_objective(document: dict[str, Any]) -> dict[str, Any]:
    """The recipe with the usual objective of its task in every stage that names none."""
    usual = OBJECTIVES.get(str(document.get("task")))
    if usual is None:
        return document
    given = document.get("distill", {})
    stages = [
        {"objective": usual} | stage if isinstance(stage, dict) else stage
        for stage in (given if isinstance(given, list) else [given])
    ]
    return {**document, "distill": stages if isinstance(given, list) else stages[0]}


def unfit(recipe: Any) -> Iterator[tuple[str, str]]:
    """The keys of a recipe, a Recipe, that do not fit its task, and why not."""
    architecture, task, teacher = recipe.student.architecture, recipe.task, recipe.teacher
    known = STUDENTS[task]
    if architecture not in known:
        choice = f"choose {known[0]}" if len(known) == 1 else f"choose one of {', '.join(known)}"
        yield "student.architecture", f"{architecture} is none for {task}: {choice}"
    if task == "text-classification":
        return
    given = {
        "tasks": bool(recipe.tasks),
        "teacher.endpoint": bool(teacher and teacher.endpoint),
        "teacher.model": bool(teacher and teacher.several),
        "distill.active": any(stage.active for stage in recipe.stages),
        "distill.samples": not all(stage.samples.all_count for stage in recipe.stages),
    }
    for path in (path for path, there in given.items() if there):
        what = "several teachers are" if path == "teacher.model" else "it is"
        yield path, f"{what} for text-classification alone, and this is {task}"
    if task == "sentence-embedding" and getattr(recipe.student, "bigrams", 0):
        yield "student.bigrams", "a sentence's vector is made of word vectors alone: leave it out"
    if task == "fill-mask" and recipe.student.vocabulary != "full":
        yield "student.vocabulary", "its entries are what fill-mask answers with: leave it out"
    if task in WITHOUT_LABELS and teacher and teacher.finetune:
        yield "teacher.finetune", f"{task} has no labels to learn from: name a teacher that is trained already"
