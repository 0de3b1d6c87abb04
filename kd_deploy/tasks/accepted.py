"""The answers that are accepted for a question, in the forms in which files write them."""

import re
from collections.abc import Mapping
from reprlib import repr as brief
from typing import Any

import numpy as np

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.columns import is_missing
from kd_deploy.tasks.task import Accepted

_HINT = 'give "answers": [{"text": "...", "start": 17}], [] where there is no answer, or the columns answer and start'
_LISTS = (list, tuple, np.ndarray)


def accepted_answers(table: Table, row: int, *, context: str) -> Accepted:
    """The texts that are accepted for a row, and where they begin in its context; none where it has no answer.

    Raises:
        DataError: No answers, one that is no text, or one that is not in the context; the line is named.
    """
    place = table.place(row)
    found = [(text, _located(text, start, context=context, place=place)) for text, start in _given(table, row)]
    return Accepted(tuple(text for text, _ in found), tuple(start for _, start in found))


def _given(table: Table, row: int) -> list[tuple[str, object]]:
    """The texts of a row, without empty ones, and their starts as they are written."""
    if "answers" in table.columns:
        pairs = _listed(table.columns["answers"][row], table.place(row))
    elif "answer" in table.columns:
        pairs = [(table.columns["answer"][row], table.columns["start"][row] if "start" in table.columns else None)]
    else:
        raise DataError(f"{table.source} has no column answers or answer", hint=_HINT)
    for text, _ in pairs:
        if not isinstance(text, str) and ("answers" in table.columns or not is_missing(text)):
            raise DataError(f"{table.place(row)}: the answer {brief(text)} is not a text", hint=_HINT)
    return [(text, start) for text, start in pairs if isinstance(text, str) and text.strip()]


def _listed(value: object, place: str) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):  # columns within the row, as Hugging Face writes them
        written: Any = value.get("text")
        starts: Any = value.get("answer_start")
        if isinstance(written, _LISTS) and isinstance(starts, _LISTS) and len(written) == len(starts):
            return list(zip(written, starts, strict=True))
    elif isinstance(value, _LISTS) and all(isinstance(one, Mapping) for one in value):
        return [(one.get("text"), one.get("start", one.get("answer_start"))) for one in value]
    raise DataError(f"{place}: answers is {brief(value)}, not a list of answers", hint=_HINT)


def _located(text: str, start: object, *, context: str, place: str) -> int:
    """The character at which an answer begins."""
    if is_missing(start):
        by_itself = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", context)  # 5 is not in 1915
        if (start := by_itself.start() if by_itself else context.find(text)) < 0:
            raise DataError(f"{place}: the answer {brief(text)} is nowhere in the context", hint="copy it from there")
    if not (written := str(start).removesuffix(".0")).removeprefix("-").isdecimal():  # pandas makes floats of numbers
        raise DataError(f"{place}: start is {start!r}, not the number of a character", hint=_HINT)
    there = context[int(written) :][: len(text)] if written.isdecimal() else ""
    if there != text:
        message = f"{place}: at character {start} of the context stands {brief(there)}, not {brief(text)}"
        raise DataError(message, hint="count characters, not bytes, from 0")
    return int(written)
