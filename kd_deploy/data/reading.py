"""One way in for rows, wherever they lie: files, folders saved by `datasets`, the hub."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from kd_deploy.data.arrow_files import read_folder, read_hub, read_parquet
from kd_deploy.data.table import Table
from kd_deploy.data.text_files import read_delimited, read_json_lines
from kd_deploy.data.wanted import REMEDY, Wanted
from kd_deploy.errors import DataError

JSON_SUFFIXES = (".jsonl", ".json")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT_SUFFIXES = (*JSON_SUFFIXES, *DELIMITERS)
OF_FILES = (*TEXT_SUFFIXES, ".gz", ".parquet", ".arrow", ".txt", ".xlsx", ".zip")  # no data set of the hub ends so
KNOWN = ".jsonl, .json, .csv or .tsv (or .gz of these), or .parquet"
ALIKE = 0.8  # names beyond one ending in common
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?")


def read_table(
    source: str,
    *,
    columns: Mapping[str, str],
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    split: str = "train",
    remedy: str = REMEDY,
) -> Table:
    """The columns that a task asks for, under the task's names, with the place of every row.

    Values are passed on as they are: whether a text is empty or a label null is the task's to say.

    Args:
        source: A file, a folder saved by `datasets`, or, where no such path exists, a hub id.
        columns: Task column: name in the source. Only where they differ.
        required: Task columns that must be there, in every row.
        optional: Task columns that may be; one that is nowhere is not in the table.
        split: Which split of a folder or of the hub; a file is one split.
        remedy: What to do about a missing column, as `Wanted` has it.

    Raises:
        DataError: The source, a row, or a column cannot be used.
        MissingExtraError: The format needs a package that is not installed.
    """
    wanted = Wanted(
        source=source,
        required={task: columns.get(task, task) for task in required},
        optional={task: columns.get(task, task) for task in optional},
        remedy=remedy,
    )
    path = Path(source)
    try:
        if path.is_dir():
            return read_folder(path, wanted, split=split)
        if path.exists():
            return _read_file(path, wanted)
    except OSError as error:
        raise DataError(
            f"cannot read {source}: {error.strerror or error}", hint="check that you may read it"
        ) from error
    require_source(source)
    return read_hub(wanted, split=split)


def require_source(source: str) -> None:
    """Refuse a name that is no path of anything, and cannot be a data set of the hub; nothing is fetched.

    Raises:
        DataError: With the name of a file that lies there, where one is nearly the same.
    """
    path = Path(source)
    if not path.exists() and not _is_hub_id(source):
        raise _no_file(path, source)


def _read_file(path: Path, wanted: Wanted) -> Table:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if path.stat().st_size == 0:
        raise DataError(f"{wanted.source} is empty", hint="check that it was written to its end")
    if kind == [".parquet"] and not zipped:
        return read_parquet(path, wanted)
    if not kind or kind[0] not in TEXT_SUFFIXES:
        raise DataError(f"{wanted.source} has an ending that is not read", hint=f"give a file in {KNOWN}")
    if kind[0] in JSON_SUFFIXES:
        return read_json_lines(path, wanted)
    return read_delimited(path, wanted, delimiter=DELIMITERS[kind[0]])


def _is_hub_id(source: str) -> bool:
    name = source.partition(":")[0].lower()
    if HUB_ID.fullmatch(source) is None or name.endswith(OF_FILES):
        return False
    # A name such as rows.cvs could be either: it is a slip where a file of nearly that name lies there.
    return "/" in source or _near(Path(source)) is None


def _no_file(path: Path, source: str) -> DataError:
    near = _near(path)
    hint = f"did you mean {near}?" if near else f"give a file in {KNOWN}, a folder, or a hub id"
    return DataError(f"there is no data file {source}", hint=hint)


def _near(path: Path) -> Path | None:
    """A file beside with nearly this name."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=ALIKE)
    return path.with_name(near[0]) if near else None
