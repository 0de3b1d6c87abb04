"""Distil a large text model into a compact one, export it, and prove what it costs and saves."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kd_deploy.bundle import Bundle
    from kd_deploy.pipeline.evaluate import evaluate
    from kd_deploy.pipeline.run import run
    from kd_deploy.recipe import Recipe
    from kd_deploy.runtime import load

__version__ = "0.1.0"
__all__ = ["Bundle", "Recipe", "__version__", "evaluate", "load", "run"]

_HOMES = {
    "Bundle": "kd_deploy.bundle",
    "Recipe": "kd_deploy.recipe",
    "evaluate": "kd_deploy.pipeline.evaluate",
    "load": "kd_deploy.runtime",
    "run": "kd_deploy.pipeline.run",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kd_deploy' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
