"""What a recipe reads: the files and models that it names, each with its key, and whether they can be read."""

from collections.abc import Callable, Iterator, Mapping

from kd_deploy.checkpoint import require_model
from kd_deploy.data.reading import require_source
from kd_deploy.errors import KDDeployError
from kd_deploy.recipe import Recipe, TaskData, Teacher, start_of
from kd_deploy.recipe.data import Unlabeled


def require_sources(recipe: Recipe) -> None:
    """Refuse a recipe that names what is not there, or is no model, before anything is read or trained.

    Models of the hub are fetched once all else is found to be there; its data sets are left to what reads them.

    Raises:
        KDDeployError: Of the kind of the first such name; all of them are told, each with its key.
    """
    from kd_deploy.distill.checkpoints import find_model

    here = [*_unusable(files_of(recipe), require_source), *_unusable(models_of(recipe), require_model)]
    faults = here or [*_unusable(models_of(recipe), find_model)]
    if not faults:
        return
    told = [f"{key}: {error}" for key, error in faults]
    first = faults[0][1]
    if len(faults) == 1:
        raise type(first)(told[0], hint=first.hint) from first
    listed = "\n  ".join(told)
    raise type(first)(f"{len(told)} names in the recipe are of nothing that can be read:\n  {listed}", hint=first.hint)


def _unusable(named: Mapping[str, str], require: Callable[[str], object]) -> Iterator[tuple[str, KDDeployError]]:
    for key, name in named.items():
        try:
            require(name)
        except KDDeployError as error:
            yield key, error


def files_of(recipe: Recipe) -> dict[str, str]:
    """The sources of rows and texts, by key."""
    parts = {"data": recipe.data, **{f"tasks.{name}.data": task.data for name, task in recipe.tasks.items()}}
    return {key: name for place, data in parts.items() for key, name in _files(data, place)}


def _files(data: TaskData, place: str) -> Iterator[tuple[str, str]]:
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    yield from ((f"{place}.{split}", name) for split, name in splits.items() if name is not None)
    for number, one in enumerate(data.unlabeled):
        named = one.source if isinstance(one, Unlabeled) else str(one)
        yield f"{place}.unlabeled.{number}", named


def models_of(recipe: Recipe) -> dict[str, str]:
    """The models that are read, by key: the teachers, and what the student starts from."""
    parts = {
        "teacher": recipe.teacher,
        **{f"tasks.{name}.teacher": task.teacher for name, task in recipe.tasks.items()},
    }
    found = {key: name for place, teacher in parts.items() if teacher for key, name in _models(teacher, place)}
    start = start_of(recipe.student)
    return {**found, "student.init": start} if start else found


def _models(teacher: Teacher, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(teacher.model, tuple):
        yield from ((f"{place}.model.{number}.model", one.model) for number, one in enumerate(teacher.model))
    elif teacher.model is not None:
        yield f"{place}.model", teacher.model
