"""JSON Lines, CSV and TSV, plain or gzipped: read as a stream, every fault with its line."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from kd_deploy.data.table import Table
from kd_deploy.data.wanted import Wanted, require_rows
from kd_deploy.errors import DataError
from kd_deploy.files import sha256_file

UTF8_BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
CUT_OFF = "the file seems cut off: copy or download it again"
LONGEST_FIELD = 2**31 - 1  # characters; Python's own limit is 131,072
ONE_OBJECT = 'give one object per line with the columns of the task, as in {"text": "..."}'


def read_json_lines(path: Path, wanted: Wanted) -> Table:
    """The rows of a file with one JSON object per line; blank lines are passed over.

    An optional column that only some rows have is None in the others.

    Raises:
        DataError: The file, a line of it, or a column cannot be used.
    """
    names = wanted.names
    columns: dict[str, list[object]] = {task: [] for task in names}
    places: list[int] = []
    absent = set(wanted.optional)
    for number, line in _lines(path, wanted.source):
        if not line.strip():
            continue
        row = _object(line, place=f"{wanted.source} line {number}")
        if not all(name in row for name in wanted.required.values()):
            wanted.choose(list(row), place=f"{wanted.source} line {number}")
        absent = {task for task in absent if names[task] not in row}
        for task, name in names.items():
            columns[task].append(row.get(name))
        places.append(number)
    require_rows(len(places), source=wanted.source)
    kept: dict[str, Sequence[object]] = {task: values for task, values in columns.items() if task not in absent}
    return Table(source=wanted.source, columns=kept, places=places, unit="line", sha256=_sha256(path, wanted.source))


def read_delimited(path: Path, wanted: Wanted, *, delimiter: str) -> Table:
    """The records of a CSV or TSV file with a header; a record stands where its first line does.

    Raises:
        DataError: The file, a record of it, or a column cannot be used.
    """
    records = _records(path, wanted.source, delimiter)
    _, header = next(records, (0, []))
    if not header:
        raise DataError(f"{wanted.source} is empty", hint="its first line must name the columns")
    chosen = wanted.choose(header, place=wanted.source)
    at = {task: header.index(name) for task, name in chosen.items()}
    columns: dict[str, list[str]] = {task: [] for task in chosen}
    places: list[int] = []
    for number, record in records:
        if len(record) != len(header):
            raise DataError(
                f"{wanted.source} line {number} has {_fields(len(record))}, the header has {len(header)}",
                hint=f"put a field that holds {'a tab' if delimiter == chr(9) else 'a comma'} in double quotes",
            )
        for task, index in at.items():
            columns[task].append(record[index])
        places.append(number)
    require_rows(len(places), source=wanted.source)
    return Table(
        source=wanted.source, columns={**columns}, places=places, unit="line", sha256=_sha256(path, wanted.source)
    )


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _object(line: str, *, place: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        whole = line.endswith("\n") or line.rstrip().endswith(("}", "]"))
        raise DataError(
            f"{place} is not valid JSON: {error.msg} at column {error.colno}", hint=ONE_OBJECT if whole else CUT_OFF
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} holds JSON too large or too deep to read", hint=ONE_OBJECT) from error
    if not isinstance(row, dict):
        raise DataError(f"{place} is not a JSON object but {line.strip()[:40]!r}", hint=ONE_OBJECT)
    if "\\ud" in line.lower():  # the one way to a half of a character, which nothing can write again
        row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    return {**row}


def _records(path: Path, source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # Strict: a quote that is never closed would otherwise swallow the rest of the file in silence.
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(_without_nul(path, source), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            if str(error).startswith("new-line character"):
                raise DataError(
                    f"{source} line {start} has line ends of carriage returns alone (\\r)",
                    hint="save it with the line ends of Unix (\\n) or Windows (\\r\\n)",
                ) from error
            raise DataError(
                f"{source} line {start} starts a record that cannot be read: {error}",
                hint="close every double quote, and write one inside a quoted field as two",
            ) from error
        if record is None:
            return
        if delimiter == "\t" and any("\t" in one and "\n" in one for one in record):
            raise DataError(
                f"{source} line {start} starts a quoted field that goes over tabs and line ends",
                hint="where a text begins with a quote of its own, double it and quote the whole field",
            )
        if record:
            yield start, record


def _without_nul(path: Path, source: str) -> Iterator[str]:
    for number, line in _lines(path, source):
        if "\0" in line:
            raise DataError(f"{source} line {number} holds a NUL byte", hint="save the file as UTF-8 text")
        yield line


def _lines(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Every line with its number from 1 and its line end; only a line feed ends a line."""
    number = 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, _decode(line.removeprefix(UTF8_BOM) if number == 1 else line, number, source)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        if number == 0 and isinstance(error, gzip.BadGzipFile):
            raise DataError(f"{source} is not a gzip file", hint="take .gz off its name, or compress it") from error
        raise DataError(f"{source} is broken gzip after line {number}: {error}", hint=CUT_OFF) from error
    except OSError as error:
        raise _unreadable(source, error) from error


def _decode(line: bytes, number: int, source: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8"
        if number == 1 and line.startswith(GZIP_MAGIC):
            hint = "it looks like gzip: give its name the ending .gz"
        elif not line.endswith(b"\n") and error.end == len(line):
            hint = CUT_OFF
        raise DataError(
            f"{source} line {number} is not UTF-8 (byte {error.start + 1} of the line)", hint=hint
        ) from error


def _sha256(path: Path, source: str) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: str, error: OSError) -> DataError:
    return DataError(f"cannot read {source}: {error.strerror or error}", hint="check that you may read it")
