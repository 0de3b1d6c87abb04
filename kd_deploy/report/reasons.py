"""Why a figure is missing: one sentence for all the missing figures of a row."""

from collections.abc import Mapping


def join_reasons(missing: Mapping[str, str | None]) -> str | None:
    """`speedup: why; smaller, memory_ratio: why else`, or None where nothing is missing.

    Args:
        missing: Each figure, and why it is missing; None where it is there.
    """
    figures_of: dict[str, list[str]] = {}
    for figure, why in missing.items():
        if why is not None:
            figures_of.setdefault(why, []).append(figure)
    if len(figures_of) == 1 and len(missing) == len(next(iter(figures_of.values()))):
        return next(iter(figures_of))
    return "; ".join(f"{', '.join(figures)}: {why}" for why, figures in figures_of.items()) or None
