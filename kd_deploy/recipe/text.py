"""A recipe before it is checked: YAML text, and single keys set from the command line."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from kd_deploy.errors import RecipeError

UNREADABLE = (ValueError, RecursionError)  # 2024-13-45, 0x_, a number of 5,000 digits, a thousand brackets


def read_text(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: It is not there, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"there is no recipe {path}", hint="kd-deploy init writes a starter recipe") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}", hint="give a YAML file in UTF-8") from error


def parse(text: str, *, source: str) -> dict[str, Any]:
    """The sections that a YAML text holds.

    Raises:
        RecipeError: It is not YAML, or holds no sections.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeError(f"{place} is not valid YAML: {problem}", hint="check indentation and colons there") from error
    except RecursionError as error:
        raise RecipeError(f"{source} is nested too deeply", hint="close its brackets") from error
    except ValueError as error:
        line = next(_unreadable(yaml.compose(text, Loader=yaml.SafeLoader)), 1)
        raise RecipeError(f"{source}:{line} holds a value that cannot be read: {error}", hint="quote it") from error
    for name, line in _repeated(yaml.compose(text, Loader=yaml.SafeLoader)):
        raise RecipeError(f"{source}:{line} has the key {name!r} for the second time", hint="keep one of the two")
    if not isinstance(document, dict):
        raise RecipeError(
            f"{source} is not a recipe: it holds no sections", hint="kd-deploy init writes a starter recipe"
        )
    return document


def _nodes(node: yaml.Node | None, *, seen: set[int]) -> Iterator[yaml.Node]:
    """All nodes of a document, each once: an alias may stand for what it lies in."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    yield node
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        for inner in part if isinstance(part, tuple) else (part,):
            yield from _nodes(inner, seen=seen)


def _repeated(document: yaml.Node | None) -> Iterator[tuple[str, int]]:
    # PyYAML keeps the last of two equal keys and says nothing.
    for node in _nodes(document, seen=set()):
        known: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value in known:
                yield str(key.value), key.start_mark.line + 1
            known.add(key.value)


def _unreadable(document: yaml.Node | None) -> Iterator[int]:
    """The lines of values that cannot be read."""
    for node in _nodes(document, seen=set()):
        if isinstance(node, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(node)
            except ValueError:
                yield node.start_mark.line + 1


def override_key(document: dict[str, Any], override: str) -> None:
    """Set one key of a document in place, as `--set a.b=value` says; the value is YAML.

    Raises:
        RecipeError: No key, no value, or a path through a plain value.
    """
    path, equals, value = override.partition("=")
    hint = "write --set section.key=value, as in --set distill.epochs=5"
    if not equals or not path:
        raise RecipeError(f"--set {override} has no key and value", hint=hint)
    *parents, last = path.split(".")
    node: Any = document
    for part, inner in pairwise([*parents, last]):
        if isinstance(node, list):
            node = node[_index(node, part, override)]
        elif isinstance(node, dict):
            node = _section(node, part, inner=inner, override=override)
        else:
            raise RecipeError(f"--set {override}: {part} lies inside a plain value", hint=hint)
    parsed = _parse_value(value, override)
    if isinstance(node, list):
        node[_index(node, last, override)] = parsed
    elif isinstance(node, dict):
        node[last] = parsed
    else:
        raise RecipeError(f"--set {override}: {last} lies inside a plain value", hint=hint)


def _section(node: dict[str, Any], part: str, *, inner: str, override: str) -> Any:
    """What lies at a key; an empty section where it was left out, or was written empty."""
    if node.get(part) is None and inner.isdigit():
        raise RecipeError(
            f"--set {override}: the recipe has no list {part} of which to set entry {inner}",
            hint=f"write {part} out in the recipe",
        )
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _parse_value(value: str, override: str) -> Any:
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise RecipeError(f"--set {override}: the value is not valid YAML", hint="quote it") from error


def _index(node: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(
            f"--set {override}: {part} is not one of the {len(node)} entries", hint="entries count from 0"
        )
    return int(part)
