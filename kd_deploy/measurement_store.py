"""Measurements as JSON on disk: written whole, checked against their dataclass when they are read."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from kd_deploy.errors import BenchmarkError
from kd_deploy.files import write_text

Noun = TypeVar("Noun")
# As a user knows them.
NAMES = {"Answers": "answers", "Benchmarked": "benchmark", "Evaluation": "evaluation", "Report": "report"}


def save(path: Path, noun: object) -> None:
    """Write a dataclass as one line of JSON.

    Raises:
        UsageError: The place cannot be written.
        ValueError: A number is not finite, which JSON cannot say.
    """
    write_text(path, json.dumps(as_document(noun), allow_nan=False, ensure_ascii=False) + "\n")


def load(path: Path, kind: type[Noun]) -> Noun:
    """The dataclass that `save` wrote.

    Raises:
        BenchmarkError: The file cannot be read, is not JSON, or is no such noun; its first fault is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"there is no file {path}", hint="kd-deploy run and kd-deploy benchmark write it"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}", hint="give a JSON file that kd-deploy wrote") from error
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise BenchmarkError(
            f"{path} is no {NAMES[kind.__name__]} of kd-deploy: {_first_fault(error)}",
            hint="give a JSON file that kd-deploy wrote, or write it again",
        ) from error


def as_document(noun: object) -> dict[str, Any]:
    """A dataclass as plain dictionaries, lists, strings and numbers."""
    document: dict[str, Any] = TypeAdapter(type(noun)).dump_python(noun, mode="json")
    return document


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
