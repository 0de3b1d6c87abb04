"""What goes together in a recipe: the students of a task, its ways to teach, and its usual objective."""

from collections.abc import Iterator
from typing import Any

from kd_deploy.generation import Generation
from kd_deploy.manifest import TaskName

STUDENTS: dict[TaskName, tuple[str, ...]] = {
    "text-classification": ("transformer", "bilstm", "static"),
    "token-classification": ("transformer", "bilstm"),
    "question-answering": ("transformer", "bilstm"),
    "sentence-similarity": ("transformer",),
    "sentence-embedding": ("transformer", "static"),
    "fill-mask": ("transformer",),
    "text2text": ("transformer", "lstm"),
    "text-generation": ("transformer",),
}
WRITING = ("text2text", "text-generation")
# Where the answers are no classes, a divergence between distributions says nothing.
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    "sentence-similarity": [{"term": "logit_mse", "weight": 0.9}, {"term": "hard_labels", "weight": 0.1}],
    "sentence-embedding": [{"term": "logit_mse"}],
}
OWN_LABELS = ("fill-mask", "text-generation")  # a text says by itself what is right
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
    task, architecture = recipe.task, recipe.student.architecture
    known = STUDENTS[task]
    if architecture not in known:
        choice = f"choose {known[0]}" if len(known) == 1 else f"choose one of {', '.join(known)}"
        yield "student.architecture", f"{architecture} is none for {task}: {choice}"
    for tasks, paths in (
        (("text-classification",), _of_texts(recipe)),
        (("text-classification", "sentence-similarity"), _of_one_answer(recipe)),
        (WRITING, _of_writing(recipe)),
    ):
        if task in tasks:
            continue
        for path in (path for path, there in paths.items() if there):
            what = "several teachers are" if path == "teacher.model" else "it is"
            yield path, f"{what} for {' and '.join(tasks)} alone, and this is {task}"
    yield from _of_two_minds(recipe)
    yield from _of_no_effect(recipe)
    yield from _of_texts_without_labels(recipe)
    for path, (there, why) in _of_other_tasks(recipe).items():
        if there:
            yield path, f"{why}: leave it out"


def _of_two_minds(recipe: Any) -> Iterator[tuple[str, str]]:
    ways = {"generation": recipe.generation, "teacher.generation": recipe.teacher and recipe.teacher.generation}
    for path, way in ways.items():
        if way and way.of_two_minds:
            yield path, "beams follow the likeliest texts, and temperature draws by chance: leave one of the two out"


def _of_no_effect(recipe: Any) -> Iterator[tuple[str, str]]:
    if recipe.task not in OWN_LABELS and any(stage.augment and _by_labels_alone(stage) for stage in recipe.stages):
        why = "texts that are made up have no labels, and hard_labels alone learns from nothing else"
        yield "distill.augment", f"{why}: leave it out, or add soft_targets"
    alone = [stage for stage in recipe.stages if _by_labels_alone(stage)]
    nobody = "no teacher is asked where hard_labels are the whole objective: leave it out, or add soft_targets"
    if not all(stage.samples.all_count for stage in alone):
        yield "distill.samples", nobody
    if any(stage.top_k for stage in alone):
        yield "distill.top_k", nobody
    smoothed = any(getattr(term, "smoothing", 0) for stage in recipe.stages for term in stage.objective)
    if recipe.task in OBJECTIVES and smoothed:
        why = f"hard_labels.smoothing is for labels that are classes, and those of {recipe.task} are none"
        yield "distill.objective", f"{why}: leave it out"


def _of_texts_without_labels(recipe: Any) -> Iterator[tuple[str, str]]:
    if not any(stage.texts == "unlabeled" for stage in recipe.stages):
        return
    if recipe.task == "text2text":
        yield "distill.texts", "sources without targets teach text2text nothing: leave it out, or use distill.sequences"
        return
    rows = {"data": recipe.data} | {f"tasks.{name}.data": task.data for name, task in recipe.tasks.items()}
    for path, data in rows.items():
        if not data.unlabeled:
            yield "distill.texts", f"unlabeled, and {path}.unlabeled names no texts: name a file there"


def _by_labels_alone(stage: Any) -> bool:
    return all(term.term == "hard_labels" for term in stage.objective if not term.is_nothing)


def _of_texts(recipe: Any) -> dict[str, bool]:
    # What is for tasks with classes of texts alone.
    teacher = recipe.teacher
    return {
        "tasks": bool(recipe.tasks),
        "teacher.endpoint": bool(teacher and teacher.endpoint),
        "teacher.fuse": bool(teacher and teacher.several and teacher.fuse != "weights"),
        "distill.active": any(stage.active for stage in recipe.stages),
        "distill.samples": not all(stage.samples.all_count for stage in recipe.stages),
    }


def _of_one_answer(recipe: Any) -> dict[str, bool]:
    # What is for tasks with one answer a text that different models give alike: vectors of two lie in two spaces.
    return {"teacher.model": bool(recipe.teacher and recipe.teacher.several)}


def _of_writing(recipe: Any) -> dict[str, bool]:
    # What is for tasks whose answers are written alone.
    return {
        "generation": recipe.generation != Generation(),
        "teacher.generation": bool(recipe.teacher and recipe.teacher.generation),
        "export.precisions": "int4" in recipe.export.precisions,
        "distill.sequences": any(stage.sequences for stage in recipe.stages),
        "distill.on_policy": any(stage.on_policy for stage in recipe.stages),
        "distill.top_k": any(stage.top_k for stage in recipe.stages),
    }


def _of_other_tasks(recipe: Any) -> dict[str, tuple[bool, str]]:
    task, student, teacher = recipe.task, recipe.student, recipe.teacher
    fills = task in ("fill-mask", *WRITING)
    terms = [term for stage in recipe.stages for term in stage.objective]
    beside_an_encoder = student.architecture == "transformer" and student.encoder_layers is not None
    return {
        "student.bigrams": (
            task == "sentence-embedding" and getattr(student, "bigrams", 0) > 0,
            "a sentence's vector is made of word vectors alone",
        ),
        "student.vocabulary": (fills and student.vocabulary != "full", f"its entries are what {task} answers with"),
        "student.encoder_layers": (
            beside_an_encoder and task != "text2text",
            f"a student for {task} has no encoder beside its layers",
        ),
        "distill.sequences": (
            task == "text-generation" and any(stage.sequences for stage in recipe.stages),
            "a teacher writes targets for sources, and text-generation has none",
        ),
        "data.unlabeled": (
            task == "text2text" and bool(recipe.data.unlabeled) and not any(stage.sequences for stage in recipe.stages),
            "sources without targets teach nothing where distill.sequences does not have the teacher write them",
        ),
        **_of_training(recipe),
        "distill.texts": (
            task not in OWN_LABELS
            and any(stage.texts == "unlabeled" and _by_labels_alone(stage) for stage in recipe.stages),
            "the texts of unlabeled have no labels, and hard_labels alone learns from nothing else",
        ),
        "distill.objective": (
            task == "text2text" and any(getattr(one, "layers", None) == "auto" for one in terms),
            "layers: auto compares what layers say of one text, and text2text has a source and a target",
        ),
        "distill.augment": (
            fills and any(stage.augment for stage in recipe.stages),
            f"texts that are made up teach {task} nothing good",
        ),
        "teacher.finetune": (
            task in WITHOUT_LABELS and bool(teacher and teacher.finetune),
            f"{task} has no labels to learn from, and its teacher must be trained already",
        ),
    }


def _of_training(recipe: Any) -> dict[str, tuple[bool, str]]:
    # What steadies a training and says nothing to some tasks; for teacher and student alike.
    task, taught = recipe.task, recipe.teacher and recipe.teacher.finetune
    found: dict[str, tuple[bool, str]] = {}
    for path, trainings in (("distill", recipe.stages), ("teacher.finetune", (taught,) if taught else ())):
        found[f"{path}.fgm"] = (
            task == "text2text" and any(one.fgm for one in trainings),
            f"it moves the word vectors of one text, and {task} has a source and a target",
        )
        found[f"{path}.r_drop"] = (
            task in OBJECTIVES and any(one.r_drop for one in trainings),
            f"it compares distributions, and the answers of {task} are none",
        )
        found[f"{path}.embeddings"] = (
            task in ("fill-mask", *WRITING) and any(one.embeddings == "sparse" for one in trainings),
            f"the head of {task} shares the word vectors, and changes all of them in every step",
        )
    return found
