"""What the stages of a run depend on besides the recipe: the content of models, as JSON values."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kd_deploy.bundle import Bundle
from kd_deploy.files import sha256_file
from kd_deploy.recipe import Teacher


def written_out(section: BaseModel, *, without: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """A section of a recipe as a stage depends on it: keys that say nothing are left out, new ones among them."""
    return section.model_dump(mode="json", exclude_none=True, exclude=set(without))


def signature(bundle: Bundle) -> list[str]:
    """What a bundle's answers depend on: weights, tokenizer, classes."""
    files = bundle.manifest.files
    labels = [*bundle.manifest.labels, *(label for task in bundle.manifest.tasks.values() for label in task.labels)]
    return [files["model.safetensors"].sha256, files["tokenizer.json"].sha256, *labels]


def model_files(teacher: Teacher | None) -> list[str]:
    """The weights of the first teacher; none for one from scratch."""
    return _weights(teacher.first) if teacher and teacher.first else []


def voices(teacher: Teacher | None) -> list[object]:
    """What a student's training depends on where others answer than the first teacher; empty where it does."""
    if teacher and teacher.endpoint:
        from kd_deploy.distill.endpoint import fingerprint

        return [fingerprint(teacher.endpoint, ())]
    if teacher is None or not teacher.several:
        return []
    return [teacher.fuse, *([one.weight, _weights(one.model)] for one in teacher.several)]


def _weights(reference: str) -> list[str]:
    from kd_deploy.distill.checkpoints import find_model

    folder: Path = find_model(reference)
    return [sha256_file(path) for path in sorted(folder.glob("*.safetensors"))]
