"""What to measure: a target, and how a process of its own opens it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kd_deploy.measurement import TargetName

JSON: TypeAlias = str | int | float | bool | list["JSON"] | dict[str, "JSON"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """A function that gives a `runner.Answerer`, in a form that travels to another process.

    `function` is written `package.module:name`; it is called with `arguments` by name.
    """

    function: str
    arguments: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """One row of a benchmark: which target, on what, and what is known without running it.

    A `reason` says why the target cannot run here (a provider that is missing): it is reported as not measured. So is
    one that need not run (`must_run` False) and whose process dies.
    """

    target: TargetName
    provider: str
    threads: int
    factory: Factory
    size_bytes: int
    parameters: int | None
    reason: str | None = None
    must_run: bool = True
