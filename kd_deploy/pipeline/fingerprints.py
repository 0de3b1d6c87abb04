"""What the stages of a run depend on besides the recipe: the content of models, as JSON values."""

import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.files import sha256_file
from kd_deploy.recipe import Recipe, Student, TaskData, Teacher, start_of
from kd_deploy.tasks.registry import writes
from kd_deploy.tasks.splits import Splits

NOT_ITSELF = ("onnx/", "README.md")  # what is made of a model, and what is said of it
OF_TEACHING = {"objective", "sequences", "on_policy", "samples", "augment", "cache_gb", "top_k"}  # not of a control
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*/config.json", "vocab.*", "*.model")  # a pooling has a folder


def drawn(data: TaskData) -> list[str]:
    """What makes other rows of the same files: another draw, or other columns."""
    return [str(data.seed), str(data.split), str(data.train_limit), json.dumps(data.columns, sort_keys=True)]


def written_out(section: BaseModel, *, without: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """A section of a recipe as a stage depends on it: keys that say nothing are left out, new ones among them."""
    return section.model_dump(mode="json", exclude_none=True, exclude=set(without))


def signature(bundle: Bundle, *, precision: str | None = None) -> list[object]:
    """What a bundle's answers depend on in an ONNX precision; None: in its torch half."""
    manifest = bundle.manifest
    graphs = bundle.graph_files(precision) if precision else []
    read = [name for name in manifest.files if name in graphs or not name.startswith(NOT_ITSELF)]
    files = [[name, manifest.files[name].sha256] for name in sorted(read)]
    classes = [*manifest.labels, *(label for task in manifest.tasks.values() for label in task.labels)]
    return [*files, *classes, manifest.max_length, manifest.generation and written_out(manifest.generation)]


def labelled_rows(recipe: Recipe, splits: Splits) -> list[str]:
    """The rows with labels, by their content and how they were drawn."""
    return [splits.train.sha256, splits.validation.sha256, *drawn(recipe.data)]


def how_to_write(recipe: Recipe, splits: Splits) -> list[object]:
    """The settings of generation, for tasks that write."""
    return [written_out(recipe.generation)] if writes(splits.labels) else []


def of_teacher(recipe: Recipe, splits: Splits) -> list[object]:
    """What the teacher of a recipe's main task depends on."""
    teacher = recipe.teacher
    told = [teacher and written_out(teacher), recipe.data.max_length, first_teacher(teacher)]
    return [*told, *how_to_write(recipe, splits), labelled_rows(recipe, splits)]


def first_teacher(teacher: Teacher | None) -> list[object]:
    """The files of the first teacher; none for one from scratch."""
    return _files(teacher.first) if teacher and teacher.first else []


def start(student: Student) -> list[object]:
    """The files of a model that a student starts from; none for its teacher, or for chance."""
    own = start_of(student)
    return _files(own) if own else []


def voices(teacher: Teacher | None) -> list[object]:
    """What a student's training depends on where others answer than the first teacher; empty where it does."""
    if teacher and teacher.endpoint:
        from kd_deploy.distill.endpoint import fingerprint

        return [fingerprint(teacher.endpoint, ())]
    if teacher is None or not teacher.several:
        return []
    return [teacher.fuse, *([one.weight, _files(one.model)] for one in teacher.several)]


def _files(reference: str) -> list[object]:
    from kd_deploy.distill.checkpoints import find_model

    folder: Path = find_model(reference)
    if (folder / MANIFEST).is_file():
        return signature(Bundle.open(folder))
    found = sorted(path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern))
    return [[str(path.relative_to(folder)), sha256_file(path)] for path in found]
