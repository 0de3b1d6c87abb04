"""What a reader of a report must know besides its figures."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import yaml
from pydantic import BaseModel

from kd_deploy.bundle import Bundle
from kd_deploy.manifest import told
from kd_deploy.pipeline.fingerprints import written_out
from kd_deploy.recipe import Recipe
from kd_deploy.report.cells import whole
from kd_deploy.tasks.registry import TASKS, is_plain, names_tokens
from kd_deploy.tasks.splits import Splits, text_of
from kd_deploy.tasks.task import Examples

FEW_ROWS = 100
OF_CHOICE = ("augment", "active", "adapter", "sequences", "on_policy")  # sections that say more than their keys
OTHER_TOKENS = (
    "Teacher and student cut texts into other tokens: what is counted by tokens cannot be held against each other, and "
    "bits_per_character can."
)
WORDLESS = "The teacher fills in words of a text and writes none by itself: there are no figures of it to compare with."
FROM_TRAINING_ROWS = (
    "{} held back from the file that data.train names: a teacher that had learned from it elsewhere looks better there "
    "than it is."
)


def notes(recipe: Recipe, splits: Splits, *, teacher: Bundle | None, student: Bundle) -> tuple[str, ...]:
    """What to say of the rows and the models of a run.

    Args:
        recipe: Of the run.
        splits: The rows of the main task.
        teacher: Of the main task; None for one on a server.
        student: As it was trained.
    """
    rows, _ = judged(splits)
    found = list(_in_short(recipe, student))
    cut = "Validation and test were" if recipe.data.split else "" if recipe.data.validation else "Validation was"
    if cut and _taught_elsewhere(recipe):
        found.append(FROM_TRAINING_ROWS.format(cut))
    if splits.test is None:
        found.append("There was no test split: quality is on validation, by which the best epoch was chosen too.")
    if min(len(rows), len(splits.validation)) < FEW_ROWS:
        found.append(
            f"Few rows: {len(splits.validation)} for validation, {len(rows)} for this report. "
            "One row more or less right moves every figure; look at the intervals."
        )
    known = {text_of(one, task=splits.labels.task) for one in splits.train.inputs}
    again = sum(text_of(one, task=splits.labels.task) in known for one in rows.inputs)
    if again:
        found.append(f"{again} of the {len(rows)} texts of this report stand in the training texts too.")
    manifest = student.manifest
    if teacher and teacher.manifest.task != manifest.task:
        found.append(WORDLESS)
    elif teacher and not teacher.manifest.graphs:
        found.append("The teacher could not be exported to ONNX: what it would be in int8 is not known.")
    elif teacher and names_tokens(splits.labels) and _tokenizer(teacher) != _tokenizer(student):
        found.append(OTHER_TOKENS)
    found += told(manifest.training, plain=is_plain(TASKS[manifest.task]))
    further = (f"Task {name}: {one}" for name, task in manifest.tasks.items() for one in told(task.training))
    return (*found, *further)


def _in_short(recipe: Recipe, student: Bundle) -> Iterator[str]:
    """What was built, and how it learned: the keys of the recipe that are not as they always are."""
    built = {"architecture": recipe.student.architecture} | _changed(recipe.student)
    yield f"Student: {_flow(built)}, {whole(student.manifest.parameters).text} parameters."
    for number, stage in enumerate(recipe.stages, start=1):
        which = f", stage {number}" if len(recipe.stages) > 1 else ""
        objective = [{"term": term.term} | _always(term) | _changed(term) for term in stage.objective]
        chosen = {name: written_out(one) for name in OF_CHOICE if (one := getattr(stage, name)) is not None}
        told = {"objective": objective} | _changed(stage, but={"control", "objective"}) | chosen
        told["epochs"] = stage.epochs
        yield f"Distillation{which}: {_flow(told)}."


def _changed(section: BaseModel, but: AbstractSet[str] = frozenset()) -> dict[str, object]:
    return section.model_dump(mode="json", exclude_defaults=True, exclude=set(but))


def _always(term: BaseModel) -> dict[str, object]:
    return term.model_dump(mode="json", include={"weight", "temperature"})


def _flow(section: object) -> str:
    return yaml.safe_dump(section, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


def _taught_elsewhere(recipe: Recipe) -> bool:
    teacher = recipe.teacher
    return bool(teacher and (teacher.endpoint or (teacher.model and not teacher.finetune)))


def _tokenizer(bundle: Bundle) -> str:
    return bundle.manifest.files["tokenizer.json"].sha256


def judged(splits: Splits) -> tuple[Examples, str]:
    """The rows that a report is about, and which split they are."""
    return (splits.test, "test") if splits.test else (splits.validation, "validation")
