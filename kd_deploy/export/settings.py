"""What an export is to write, and what it may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kd_deploy.export.graph import Backend
from kd_deploy.tasks.task import Examples


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What to write, and what int8 may cost: on the rows of the main task, and of further ones by name.

    `keep` the bundle's graphs in other precisions than these: they are of the same model.
    """

    precisions: Sequence[str]
    opset: int = 17
    backend: Backend = "torch"
    max_accuracy_drop: float | None = None
    examples: Examples | None = None
    further: Mapping[str, Examples] = field(default_factory=dict)
    keep: bool = False
