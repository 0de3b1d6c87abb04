"""Which columns a task asks for, and what one source calls them."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from kd_deploy.errors import DataError

SEPARATORS = ",;\t|"
REMEDY = "set data.columns to {{{task}: {name}}} in the recipe, or give --columns {task}=NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A source, and the columns to read from it: the task's name of each, and the source's own.

    `remedy` says where a column can be named, with `{source}`, and `{task}` and `{name}` for what the task and the
    source call it.
    """

    source: str
    required: dict[str, str]
    optional: dict[str, str]
    remedy: str = REMEDY

    @property
    def names(self) -> dict[str, str]:
        """Every column, required or not."""
        return {**self.required, **self.optional}

    def choose(self, there: Sequence[str], *, place: str) -> dict[str, str]:
        """The columns that can be read, out of those that are there.

        Args:
            there: Every column name of the source, or of one of its rows.
            place: Where they were found, as an error names it.

        Raises:
            DataError: A required column is missing, or one that is read stands there twice.
        """
        for task, name in self.required.items():
            if name not in there:
                raise self._missing(task, name, there, place)
        chosen = {task: name for task, name in self.names.items() if name in there}
        for name in chosen.values():
            if list(there).count(name) > 1:
                raise DataError(f"{place} has the column {name!r} twice", hint="rename one of the two")
        return chosen

    def _missing(self, task: str, name: str, there: Sequence[str], place: str) -> DataError:
        called = repr(name) if name == task else f"{name!r} (the task's {task!r})"
        if len(there) == 1 and any(mark in there[0] for mark in SEPARATORS):
            return DataError(
                f"{place} has no column {called}; its one column is {there[0]!r}",
                hint="save it with commas between the columns, or with tabs as .tsv",
            )
        known = ", ".join(repr(other) for other in there) or "none"
        near = [*difflib.get_close_matches(name, there, n=1), *difflib.get_close_matches(task, there, n=1)]
        guess = f"did you mean {near[0]!r}? " if near else ""
        remedy = self.remedy.format(source=self.source, task=task, name=near[0] if near else "its name there")
        return DataError(f"{place} has no column {called}; its columns: {known}", hint=f"{guess}{remedy}")


def require_rows(count: int, *, source: str) -> None:
    """Refuse a source that has columns, and nothing under them.

    Raises:
        DataError: There is no row.
    """
    if not count:
        raise DataError(f"{source} has no rows", hint="check that it was written to its end")
