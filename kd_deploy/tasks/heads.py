"""Several tasks of one model: its logits side by side, a slice and a name for each task."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from kd_deploy import progress
from kd_deploy.errors import DataError, RecipeError, UsageError
from kd_deploy.tasks.task import LabelSpace

MAIN = "main"
OUTPUT = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One task of a model: its classes, the output that holds its logits, and where they start among all."""

    labels: LabelSpace
    output: str = OUTPUT
    start: int = 0

    @property
    def columns(self) -> slice:
        """Its places among the logits of all tasks."""
        if not self.labels.names:  # a vector's numbers have no names
            return slice(None)
        return slice(self.start, self.start + len(self.labels.names))


def lay_out(main: LabelSpace, further: Mapping[str, LabelSpace]) -> dict[str, Head]:
    """The heads of a model by task, the main one first, then the others in their order."""
    heads = {MAIN: Head(labels=main)}
    start = len(main.names)
    for name, labels in further.items():
        heads[name] = Head(labels=labels, output=f"{OUTPUT}_{name}", start=start)
        start += len(labels.names)
    return heads


def joint_labels(heads: Mapping[str, Head]) -> LabelSpace:
    """All classes in the order of all logits; those of a further task as NAME/CLASS."""
    main, *further = heads.items()
    names = [f"{task}/{label}" for task, head in further for label in head.labels.names]
    return replace(main[1].labels, names=(*main[1].labels.names, *names))


@contextlib.contextmanager
def speaking_of(task: str) -> Iterator[None]:
    """A block whose lines, and faults in recipe and data, name the further task that they are about."""
    if task == MAIN:
        yield
        return
    try:
        with progress.about(f"task {task}"):
            yield
    except (RecipeError, DataError) as error:
        raise type(error)(f"tasks.{task}: {error}", hint=error.hint) from error


def find_head(heads: Mapping[str, Head], task: str) -> Head:
    """The head of a task.

    Raises:
        UsageError: The model has no such task; those that it has are named.
    """
    if task not in heads:
        raise UsageError(f"the model has no task {task!r}", hint=f"its tasks: {', '.join(heads)}")
    return heads[task]
