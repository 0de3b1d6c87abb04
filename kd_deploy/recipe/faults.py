"""Validation errors as a person would say them: the path as it was typed, its line, what was meant."""

import difflib
import re
import reprlib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

TAGS = ("architecture", "term")
# Pydantic's kinds of faults; one that is not here is shown in its own words.
SENTENCES = {
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "dict_type": "must be a section with keys of its own",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "has too few entries: give {min_length} or more",
}
A_KEY = "[key]"  # how pydantic says that the fault is in the key of a mapping itself


def describe_faults(
    error: ValidationError, *, model: type[BaseModel], text: str = "", overrides: Sequence[str] = ()
) -> list[str]:
    """One line for each fault.

    Args:
        error: What pydantic found.
        model: The root model that was validated.
        text: The YAML source, for line numbers; empty where there is none.
        overrides: What `--set` said, `a.b=value` each: a fault in such a key is no line's.
    """
    places = _Places(text, frozenset(override.partition("=")[0] for override in overrides))
    faults = error.errors()
    locs = [tuple(fault["loc"]) for fault in faults]
    deeper = {loc[:cut] for loc in locs for cut in range(len(loc))}
    # A faulty entry makes its list count as empty too: that second complaint says nothing.
    kept = [f for f, loc in zip(faults, locs, strict=True) if f["type"] != "too_short" or loc not in deeper]
    return [_describe(fault, model=model, places=places) for fault in kept]


def place_of(path: str, text: str, overrides: Sequence[str] = ()) -> str:
    """Where a key such as `student.layers` was written, as a fault names it."""
    places = _Places(text, frozenset(override.partition("=")[0] for override in overrides))
    return places.of(list(path.split(".")))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a key was written: in a line of the file, or after --set."""

    text: str
    overridden: frozenset[str]

    def of(self, names: list[str | int]) -> str:
        path = ".".join(str(name) for name in names)
        if any(f"{path}.".startswith(f"{key}.") for key in self.overridden):
            return f"{path} (--set)"
        line = _line_of(self.text, names)
        return f"{path or 'the recipe'} (line {line})" if line else path or "the recipe"


def _describe(fault: Any, *, model: type[BaseModel], places: _Places) -> str:
    loc = tuple(fault["loc"])
    names, allowed = _walk(loc, model)
    place = places.of(names)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        return f"{place}: unknown key" + (f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(allowed)}")
    if fault["type"] == "missing":
        return f"{place}: missing"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = fault["ctx"]["discriminator"].strip("'")
        place = places.of([*names, key])
        given = fault["ctx"].get("tag")
        choices = _choices(model, loc)
        return f"{place}: " + (_unknown(given, choices) if given else f"missing; give {_one_of(choices)}")
    return f"{place}: {sentence(fault)}"


def sentence(fault: Any) -> str:
    """What is wrong with a value, as one of pydantic's faults has it, and what was given."""
    given = fault["input"]
    if given is None:
        return "has no value: give one, or leave it out"
    choices = re.findall("'([^']*)'", fault["ctx"]["expected"]) if fault["type"] == "literal_error" else []
    if choices and isinstance(given, str):
        return _unknown(given, choices)
    known = SENTENCES.get(fault["type"])
    told = known.format(**fault.get("ctx", {})) if known else fault["msg"].removeprefix("Value error, ")
    if not isinstance(given, str | int | float):
        return told + (f", got {reprlib.repr(given)}" if known else "")
    wanted = f" such as [{given}]" if fault["type"] == "tuple_type" else ""
    return f"{told}{wanted}, got {given!r}"


def _choices(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """What may be said where members of a union are told apart."""
    here: Any = model
    for part in loc:
        if get_origin(here) is dict:
            here = get_args(here)[1]
        elif isinstance(part, str) and not part.startswith("<"):
            here = _models(here)[0].model_fields[part].annotation
    return [tag for candidate in _models(here) for tag in _tags(candidate)]


def _unknown(given: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(given.lower(), choices, n=1)
    return f"unknown {given!r}" + (f", did you mean {near[0]!r}?" if near else f"; give {_one_of(choices)}")


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]


def _walk(loc: tuple[str | int, ...], model: type[BaseModel]) -> tuple[list[str | int], list[str]]:
    """The path as the user wrote it (union tags removed), and the keys allowed where it ends."""
    names: list[str | int] = []
    here: Any = model
    allowed: list[str] = []
    for part in loc:
        if str(part).startswith("<") or part == A_KEY:
            continue
        if get_origin(here) is dict:
            names.append(part)
            here = get_args(here)[1]
            continue
        models = _models(here)
        tagged = [m for m in models if part in _tags(m)]
        if len(models) > 1 and tagged:
            here = tagged[0]
            continue
        names.append(part)
        allowed = sorted({name for model in models for name in model.model_fields})
        if isinstance(part, str):
            found = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            here = found[0] if found else None
    return names, allowed


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    tags: list[str] = []
    for name in TAGS:
        if name in model.model_fields:
            tags += get_args(model.model_fields[name].annotation)
    return tuple(tags)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (types.UnionType, typing.Union, tuple, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _line_of(text: str, names: list[str | int]) -> int | None:
    """The line of the deepest part of the path that the file itself holds."""
    node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    line = None
    for name in names:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(name)]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
            node = node.value[name]
            line = node.start_mark.line + 1
    return line
