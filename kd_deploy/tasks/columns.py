"""Columns of a table as a task reads them: texts, pairs of texts, names of classes."""

import ast
import json
import re
from collections.abc import Sequence
from reprlib import repr as brief

import numpy as np

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.encoding import TextInput

SEPARATOR = "|"
UNSEPARATED = re.compile(r"""(['"])\s+\1""")  # two quoted names with nothing but space between


def texts_or_pairs(table: Table) -> tuple[TextInput, ...]:
    """The column text, or the pairs of text and text_pair where that column is there.

    Raises:
        DataError: A text is empty or no text; the line is named.
    """
    firsts = texts(table, "text")
    if "text_pair" not in table.columns:
        return firsts
    return tuple(zip(firsts, texts(table, "text_pair"), strict=True))


def texts(table: Table, column: str) -> tuple[str, ...]:
    """A column of texts.

    Raises:
        DataError: A text is empty or no text; the line is named.
    """
    return tuple(_text(table, column, row) for row in range(len(table)))


def label_rows(table: Table) -> list[tuple[str, ...]]:
    """The names of the classes of each row: those of the column labels, else the one of label.

    Raises:
        DataError: Neither column is there, or a label is null or no name; the line is named.
    """
    if "labels" in table.columns:
        found = [_several(table, row) for row in range(len(table))]
        if len(set(found)) > 1 and all({*one} == {"0", "1"} for one in found):  # of two classes, none repeated
            raise _yes_or_no(table.columns["labels"][0], place=table.place(0))
        return found
    if "label" in table.columns:
        return [(_label(table, table.columns["label"][row], row),) for row in range(len(table))]
    raise DataError(
        f"{table.source} has no column label (one class) or labels (several classes)",
        hint="name the column in the recipe, as in data.columns: {label: sentiment}",
    )


def few(names: Sequence[str], *, most: int = 8) -> str:
    """The first names, quoted, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: null, no text, or NaN, as pandas writes it."""
    return value is None or value == "" or value != value  # noqa: PLR0124 - NaN is the one value unlike itself


def _several(table: Table, row: int) -> tuple[str, ...]:
    value = table.columns["labels"][row]
    if isinstance(value, str):
        value = _written_out(value, place=table.place(row))
    if not isinstance(value, list | tuple | np.ndarray):
        raise DataError(
            f"{table.place(row)}: labels is {value!r}, not a list of classes",
            hint=f"write a JSON list, or names joined by {SEPARATOR}",
        )
    names = [_label(table, one, row) for one in value]
    if len(names) > len(set(names)) and not {*names} - {"0", "1"}:
        raise _yes_or_no(value, place=table.place(row))
    return tuple(dict.fromkeys(names))


def _yes_or_no(value: object, *, place: str) -> DataError:
    return DataError(
        f"{place}: labels is {brief(value)}, which says no or yes of every class",
        hint='list the classes of the row by their names, as in ["sport", "travel"]',
    )


def _written_out(cell: str, *, place: str) -> list[object]:
    """The classes that a cell of a CSV names: a list, as other tools write it, or names with bars between."""
    listed = list_in(cell)
    if listed is None and cell.lstrip().startswith("[") and UNSEPARATED.search(cell):
        raise DataError(f"{place}: labels is {cell!r}, a list without commas", hint="write a JSON list")
    return [part.strip() for part in cell.split(SEPARATOR) if part.strip()] if listed is None else listed


def list_in(cell: str) -> list[object] | None:
    """The list that a cell of a CSV holds, as JSON or as Python writes it; None: it holds none.

    A name may begin with a bracket. What numpy prints has no commas, and is no list to Python.
    """
    if not cell.lstrip().startswith("[") or UNSEPARATED.search(cell):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # TypeError: {[1]: 2}
            continue
        return found if isinstance(found, list) else None
    return None


def _label(table: Table, value: object, row: int) -> str:
    if is_missing(value):
        raise DataError(f"{table.place(row)}: label is null", hint="correct or remove the row")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, str | bool | int | np.integer):
        return str(value)
    raise DataError(f"{table.place(row)}: label {value!r} is not the name of a class", hint="correct the row")


def _text(table: Table, column: str, row: int) -> str:
    value = table.columns[column][row]
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{table.place(row)}: {column} is {kind}, not a text", hint="correct or remove the row")
    if not value.strip():
        raise DataError(f"{table.place(row)}: {column} is empty", hint="correct or remove the row")
    return value
