"""Parquet, folders saved by `datasets` and data sets of the hub, whose packages load only when asked for."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kd_deploy.data.table import Table
from kd_deploy.data.wanted import Wanted, require_rows
from kd_deploy.errors import DataError, MissingExtraError
from kd_deploy.files import sha256_file

EXTRA = "distill"
LISTS = ("List", "LargeList", "Sequence")  # what `datasets` calls them, now and in former times


def read_parquet(path: Path, wanted: Wanted) -> Table:
    """The rows of a Parquet file; label numbers become names where `datasets` wrote the names.

    Raises:
        DataError: The file or a column cannot be used.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("reading parquet", extra=EXTRA) from error
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = wanted.choose(schema.names, place=wanted.source)
            rows, count = file.read(columns=list(chosen.values())), file.metadata.num_rows
        columns = {task: rows.column(name).to_pylist() for task, name in chosen.items()}
        digest = sha256_file(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"cannot read {wanted.source} as parquet: {_first_line(error)}",
            hint="write the file again, or check its ending",
        ) from error
    features = _features_in(schema.metadata or {})
    described = {task: features.get(name) for task, name in chosen.items()}
    return _table(wanted, columns, count=count, features=described, sha256=digest)


def read_folder(path: Path, wanted: Wanted, *, split: str) -> Table:
    """The rows of a folder saved by `datasets`; of several splits in it, the one named.

    Raises:
        DataError: The folder holds no data set, the split is not there, or a column cannot be used.
        MissingExtraError: `datasets` is not installed.
    """
    if not any((path / marker).is_file() for marker in ("dataset_dict.json", "state.json")):
        raise DataError(
            f"{wanted.source} is a folder, and not one saved by `datasets`",
            hint="name a file in it, or save it with Dataset.save_to_disk",
        )
    datasets = _datasets("reading a folder of `datasets`")
    try:
        loaded = datasets.load_from_disk(str(path))
        if isinstance(loaded, datasets.DatasetDict):
            loaded = _split_of(loaded, split, source=wanted.source)
        return _from_dataset(loaded, wanted)
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"cannot read the data set in {wanted.source}: {_first_line(error)}",
            hint="save it again with Dataset.save_to_disk",
        ) from error


def read_hub(wanted: Wanted, *, split: str) -> Table:
    """The rows of a data set of the hub, `owner/name` or `owner/name:config`.

    Raises:
        DataError: It cannot be loaded, or a column cannot be used.
        MissingExtraError: `datasets` is not installed.
    """
    datasets = _datasets("reading a data set of the hub")
    name, _, config = wanted.source.partition(":")
    try:
        loaded = datasets.load_dataset(name, config or None, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"cannot load {wanted.source} (split {split!r}) from the hub, and no file has that name: "
            f"{_first_line(error)}",
            hint="check the name, write a config as owner/name:config, and check the network",
        ) from error
    return _from_dataset(loaded, wanted)


def _datasets(what: str) -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(what, extra=EXTRA) from error
    module: ModuleType = datasets
    return module


def _split_of(loaded: Mapping[str, Any], split: str, *, source: str) -> Any:
    if split not in loaded:
        known = ", ".join(repr(name) for name in loaded)
        raise DataError(f"{source} has no split {split!r}; its splits: {known}", hint="name the folder of one split")
    return loaded[split]


def _from_dataset(dataset: Any, wanted: Wanted) -> Table:
    chosen = wanted.choose(dataset.column_names, place=wanted.source)
    plain = dataset.with_format(None).select_columns(list(dict.fromkeys(chosen.values())))
    rows = plain[:]
    columns = {task: list(rows[name]) for task, name in chosen.items()}
    features = plain.features.to_dict()
    described = {task: features.get(name) for task, name in chosen.items()}
    return _table(wanted, columns, count=len(dataset), features=described, sha256="")


def _table(
    wanted: Wanted, columns: Mapping[str, Sequence[object]], *, count: int, features: Mapping[str, Any], sha256: str
) -> Table:
    named = {task: _named(values, _class_names(features[task])) for task, values in columns.items()}
    class_names = [_class_names(_held(feature)) for feature in features.values()]
    require_rows(count, source=wanted.source)
    return Table(
        source=wanted.source,
        columns=named,
        places=range(1, count + 1),
        unit="row",
        sha256=sha256 or _sha256_rows(named),
        label_names=next((names for names in class_names if names), ()),
    )


def _named(values: Sequence[object], names: tuple[str, ...]) -> Sequence[object]:
    # -1 is how the hub marks a label that is held back: no label.
    if not names:
        return values
    return [
        names[value] if isinstance(value, int) and 0 <= value < len(names) else value if value in names else None
        for value in values
    ]


def _sha256_rows(columns: Mapping[str, Sequence[object]]) -> str:
    digest = hashlib.sha256(json.dumps(list(columns)).encode())
    for row in zip(*columns.values(), strict=True):
        digest.update(json.dumps(row, default=str).encode() + b"\n")
    return digest.hexdigest()


def _features_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _held(feature: Any) -> Any:
    """What the lists of a column hold; of a column without lists, what it holds itself.

    The numbers in lists stay as they are: whether they stand for classes is the task's to say.
    """
    if isinstance(feature, list):  # how `datasets` used to write [ClassLabel]
        return feature[0] if feature else None
    if isinstance(feature, dict) and feature.get("_type") in LISTS:
        return feature.get("feature")
    return feature


def _class_names(feature: Any) -> tuple[str, ...]:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    names: Iterable[object] = feature.get("names") or ()
    return tuple(str(name) for name in names)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
