"""The stages of a recipe as a whole: what a control does in their place, and how a bundle tells of them."""

from collections.abc import Iterator

from kd_deploy.recipe import Distill, HardLabels


def control_of(stages: tuple[Distill, ...]) -> Distill:
    """The last stage's settings, for as many epochs as all stages together, on labels alone.

    Where a stage trains all weights, its settings: adapters over weights that no stage before has trained hold back.
    """
    rounds = [stage.active.rounds if stage.active else 1 for stage in stages]
    epochs = sum(stage.epochs * count for stage, count in zip(stages, rounds, strict=True))
    labels = (HardLabels(term="hard_labels"),)
    last = next((stage for stage in reversed(stages) if stage.adapter is None), stages[-1])
    return last.model_copy(update={"epochs": epochs, "objective": labels, "on_policy": None})


def described(stages: tuple[Distill, ...]) -> tuple[str, ...]:
    """The terms of every stage with their knobs, and what else says from which texts and how it learns."""
    return tuple(
        (f"stage {number}: " if len(stages) > 1 else "") + told
        for number, stage in enumerate(stages, start=1)
        for told in _told(stage)
    )


def _told(stage: Distill) -> Iterator[str]:
    for term in stage.objective:
        yield _with_knobs(term.term, {key: value for key, value in vars(term).items() if key != "term"})
    for name in ("sequences", "on_policy", "active", "augment", "adapter"):
        section = getattr(stage, name)
        if section is not None:
            yield _with_knobs(name, vars(section))
    if not stage.samples.all_count:
        yield _with_knobs("samples", vars(stage.samples))


def _with_knobs(name: str, knobs: dict[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in knobs.items())})"
