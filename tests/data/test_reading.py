import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, LargeList, Sequence, Value
from pyarrow import parquet

from kd_deploy.data.reading import read_table
from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, MissingExtraError
from kd_deploy.files import sha256_file
from kd_deploy.tasks import token_classification

ROWS = [{"text": "late, again", "label": "bad"}, {"text": 'über "gut"', "label": "good"}]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = 'text,label\n"late, again",bad\n"über ""gut""",good\n'
TSV = 'text\tlabel\nlate, again\tbad\n"über ""gut"""\tgood\n'


def read(source: Path | str, *, columns: dict[str, str] | None = None, split: str = "train") -> Table:
    return read_table(
        str(source), columns=columns or {}, required=("text", "label"), optional=("text_pair",), split=split
    )


def refusal(source: Path | str, *, columns: dict[str, str] | None = None, split: str = "train") -> DataError:
    with pytest.raises(DataError) as caught:
        read(source, columns=columns, split=split)
    assert caught.value.hint
    return caught.value


def with_class_labels() -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["good", "bad"])})
    return Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)


TAGS = ("O", "B-PER", "I-PER")


def with_lists_of_class_labels(kind: Callable[[ClassLabel], object] = Sequence) -> Dataset:
    features = Features({"tokens": Sequence(Value("string")), "tags": kind(ClassLabel(names=[*TAGS]))})
    return Dataset.from_dict({"tokens": [["Ada", "L", "slept"], ["no"]], "tags": [[1, 2, 0], [0]]}, features=features)


def write_parquet(path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(ROWS), path)


def write_folder(path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_text(JSONL, encoding="utf-8"),
    "rows.json": lambda path: path.write_text(JSONL, encoding="utf-8"),
    "rows.csv": lambda path: path.write_text(CSV, encoding="utf-8"),
    "rows.tsv": lambda path: path.write_text(TSV, encoding="utf-8"),
    "ROWS.CSV": lambda path: path.write_text(CSV, encoding="utf-8"),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(JSONL.encode())),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.encode())),
    "rows.tsv.gz": lambda path: path.write_bytes(gzip.compress(TSV.encode())),
    "rows.parquet": write_parquet,
    "rows": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_columns(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)

    table = read(tmp_path / name)

    assert table.columns == {"text": ["late, again", 'über "gut"'], "label": ["bad", "good"]}
    assert len(table) == 2


@pytest.mark.parametrize(
    ("name", "place"), [("rows.jsonl", "line 2"), ("rows.csv", "line 3"), ("rows.parquet", "row 2"), ("rows", "row 2")]
)
def test_a_row_knows_where_it_stood(tmp_path: Path, name: str, place: str) -> None:
    WRITERS[name](tmp_path / name)

    assert read(tmp_path / name).place(1) == f"{tmp_path / name} {place}"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv.gz", "rows.parquet"])
def test_the_fingerprint_of_a_file_is_that_of_its_bytes(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)

    assert read(tmp_path / name).sha256 == sha256_file(tmp_path / name)


def test_the_fingerprint_of_a_folder_is_that_of_the_columns_read(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "plain")
    Dataset.from_list([{**row, "id": 1} for row in ROWS]).save_to_disk(tmp_path / "wider")
    Dataset.from_list(ROWS[::-1]).save_to_disk(tmp_path / "turned")

    plain, wider, turned = (read(tmp_path / name).sha256 for name in ("plain", "wider", "turned"))

    assert plain == wider != turned


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_columns_are_renamed_to_what_the_task_calls_them(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)

    table = read_table(str(tmp_path / name), columns={"target": "label"}, required=("target",))

    assert table.columns == {"target": ["bad", "good"]}


def test_bom_and_crlf_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + JSONL.replace("\n", "\r\n").encode())

    assert read(tmp_path / "a.csv").columns == read(tmp_path / "a.jsonl").columns


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    lines = JSONL.splitlines()
    (tmp_path / "a.jsonl").write_text(f"\n{lines[0]}\n\n  \n{lines[1]}", encoding="utf-8")

    assert list(read(tmp_path / "a.jsonl").places) == [2, 5]


def test_a_csv_record_stands_where_its_first_line_does(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"one\ntwo\n\nthree",x\n\nfour,y\n')

    table = read(tmp_path / "a.csv")

    assert list(table.places) == [2, 7]
    assert table.columns["text"] == ["one\ntwo\n\nthree", "four"]


def test_only_a_line_feed_ends_a_json_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\u2028b\x85c", "label": "x"}\n' * 2, encoding="utf-8")

    assert list(read(tmp_path / "a.jsonl").places) == [1, 2]


def test_an_optional_column_is_there_when_any_row_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(JSONL + '{"text": "a", "text_pair": "b", "label": "x"}\n', encoding="utf-8")

    assert read(tmp_path / "a.jsonl").columns["text_pair"] == [None, None, "b"]


def test_values_are_passed_on_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "", "label": null}\n')

    assert read(tmp_path / "a.jsonl").columns == {"text": [""], "label": [None]}


TEXT_FAULTS = {
    "empty.jsonl": (b"", "is empty"),
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n", "is empty"),
    "blank.jsonl": (b"\n\n", "has no rows"),
    "header.csv": (b"text,label\n", "has no rows"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "broken.jsonl": (JSONL.encode() + b'{"text" "a"}\n' + JSONL.encode(), "line 3 is not valid JSON: Expecting ':'"),
    "cut.jsonl": (JSONL.encode() + b'{"text": "a", "la', "line 3 is not valid JSON"),
    "list.jsonl": (JSONL.encode() + b"[1, 2]\n", "line 3 is not a JSON object but '[1, 2]'"),
    "array.json": (b'[\n{"text": "a", "label": "b"}\n]', "line 1 is not valid JSON"),
    "digits.jsonl": (b'{"text": ' + b"9" * 5000 + b"}\n", "line 1 holds JSON too large or too deep"),
    "deep.jsonl": (b"[" * 200_000 + b"\n", "line 1 holds JSON too large or too deep"),
    "latin.jsonl": (JSONL.encode() + '{"text": "é"}\n'.encode("latin-1"), "line 3 is not UTF-8 (byte 11 of the line)"),
    "latin.csv": (b"text,label\na,b\n\xe9,b\n", "line 3 is not UTF-8"),
    "wide.csv": ("text,label\na,b".encode("utf-16"), "line 1 is not UTF-8"),
    "cut.csv": (b"text,label\na,b\nc\xc3", "line 3 is not UTF-8"),
    "zipped.jsonl": (gzip.compress(JSONL.encode()), "line 1 is not UTF-8"),
    "plain.jsonl.gz": (JSONL.encode(), "is not a gzip file"),
    "plain.csv.gz": (CSV.encode(), "is not a gzip file"),
    "checksum.jsonl.gz": (gzip.compress(JSONL.encode())[:-8] + b"\0" * 8, "is broken gzip after line 2"),
    "more.csv": (b"text,label\na,b\nc,d,e\n", "line 3 has 3 fields, the header has 2"),
    "fewer.csv": (b"text,label\na,b\nc\n", "line 3 has 1 field, the header has 2"),
    "quoted.tsv": (
        b'text\tlabel\n"Oh dear\tneg\nfine film"\tpos\n',
        "line 2 starts a quoted field that goes over tabs and line ends",
    ),
    "more.tsv": (b"text\tlabel\na\tb\tc\n", "line 2 has 3 fields, the header has 2"),
    "after.csv": (b'text,label\n"a\n\nb",c\nd\n', "line 5 has 1 field"),
    "open.csv": (b'text,label\na,b\n"c,d\ne,f\n', "line 3 starts a record that cannot be read"),
    "quote.csv": (b'text,label\n"a" b,c\n', "line 2 starts a record that cannot be read"),
    "nul.csv": (b"text,label\na,b\nc\0,d\n", "line 3 holds a NUL byte"),
    "lacks.csv": (b"text,lable\na,b\n", "lacks.csv has no column 'label'; its columns: 'text', 'lable'"),
    "twice.csv": (b"text,label,text\na,b,c\n", "twice.csv has the column 'text' twice"),
    "semicolons.csv": (b"text;label\na;b\n", "semicolons.csv has no column 'text'; its one column is 'text;label'"),
    "commas.tsv": (b"text,label\na,b\n", "commas.tsv has no column 'text'; its one column is 'text,label'"),
    "lacks.jsonl": (JSONL.encode() + b'{"text": "a"}\n', "line 3 has no column 'label'; its columns: 'text'"),
    "rows.txt": (b"text\n", "has an ending that is not read"),
    "rows": (b"text\n", "has an ending that is not read"),
    "rows.parquet": (b"PAR1 no", "as parquet"),
    "rows.parquet.gz": (b"PAR1 no", "has an ending that is not read"),
}


@pytest.mark.parametrize("name", TEXT_FAULTS)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    content, message = TEXT_FAULTS[name]
    (tmp_path / name).write_bytes(content)

    error = refusal(tmp_path / name)

    assert str(tmp_path / name) in str(error)
    assert message in str(error)


@pytest.mark.parametrize("name", ["cut.jsonl", "cut.csv", "checksum.jsonl.gz"])
def test_a_file_that_was_cut_off_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TEXT_FAULTS[name][0])

    assert "seems cut off" in refusal(tmp_path / name).hint


def test_a_truncated_gzip_is_called_cut_off(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"text": "{n * 7919}", "label": "x"}}\n' for n in range(20_000)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])

    error = refusal(tmp_path / "a.jsonl.gz")

    assert "is broken gzip after line" in str(error)
    assert "after line 0" not in str(error)
    assert "seems cut off" in error.hint


def test_a_missing_column_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,lable\na,b\n")

    assert refusal(tmp_path / "a.csv").hint == (
        "did you mean 'lable'? set data.columns to {label: lable} in the recipe, or give --columns label=NAME"
    )


def test_a_renamed_column_that_is_missing_is_named_both_ways(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")

    error = refusal(tmp_path / "a.csv", columns={"text": "sentence"})

    assert "has no column 'sentence' (the task's 'text')" in str(error)
    assert error.hint.startswith("did you mean 'text'? set data.columns to {text: text} in the recipe")


@pytest.mark.parametrize(
    "source", ["./train", "/no/such/train", "train.jsonl", "texts.txt", "no/train.csv.gz", "a/b/c", "~/x"]
)
def test_what_looks_like_a_path_and_is_not_there_is_no_hub_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", None)

    error = refusal(source)

    assert f"there is no data file {source}" in str(error)


def test_a_file_beside_it_with_a_close_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(JSONL, encoding="utf-8")

    assert refusal(tmp_path / "trian.jsonl").hint == f"did you mean {tmp_path / 'train.jsonl'}?"


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    assert "is a folder, and not one saved by `datasets`" in str(refusal(tmp_path))


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "rows")
    next((tmp_path / "rows").glob("*.arrow")).unlink()

    assert "cannot read the data set in" in str(refusal(tmp_path / "rows"))


def test_an_empty_folder_data_set_is_refused(tmp_path: Path) -> None:
    Dataset.from_dict({"text": [], "label": []}).save_to_disk(tmp_path / "rows")

    assert "cannot read the data set in" in str(refusal(tmp_path / "rows"))


def test_a_folder_with_splits_gives_the_one_asked_for(tmp_path: Path) -> None:
    DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1])).save_to_disk(tmp_path / "rows")

    assert len(read(tmp_path / "rows", split="test")) == 1
    assert "has no split 'validation'; its splits: 'train', 'test'" in str(
        refusal(tmp_path / "rows", split="validation")
    )


def test_the_saved_format_of_a_folder_does_not_matter(tmp_path: Path) -> None:
    with_class_labels().with_format("numpy").save_to_disk(tmp_path / "rows")

    assert read(tmp_path / "rows").columns["label"] == ["bad", "good", None]


@pytest.mark.parametrize("name", ["rows", "rows.parquet"])
def test_class_labels_become_names_in_their_order(tmp_path: Path, name: str) -> None:
    save = with_class_labels().to_parquet if name.endswith("t") else with_class_labels().save_to_disk
    save(tmp_path / name)

    table = read(tmp_path / name)

    assert table.label_names == ("good", "bad")
    assert table.columns["label"] == ["bad", "good", None]


@pytest.mark.parametrize("kind", [Sequence, LargeList, lambda one: [one]], ids=["list", "large", "bare"])
@pytest.mark.parametrize("name", ["rows", "rows.parquet"])
def test_the_names_of_class_labels_in_lists_are_told_and_the_numbers_stay(
    tmp_path: Path, name: str, kind: Callable[[ClassLabel], object]
) -> None:
    rows = with_lists_of_class_labels(kind)
    save = rows.to_parquet if name.endswith("t") else rows.save_to_disk
    save(tmp_path / name)

    table = read_table(str(tmp_path / name), columns={}, required=("tokens", "tags"))

    assert table.label_names == TAGS
    assert table.columns == {"tokens": [["Ada", "L", "slept"], ["no"]], "tags": [[1, 2, 0], [0]]}


@pytest.mark.parametrize(
    "feature",
    [
        {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": TAGS}},
        [{"_type": "ClassLabel", "names": TAGS}],
    ],
)
def test_parquet_of_former_times_tells_the_names_too(tmp_path: Path, feature: object) -> None:
    told = json.dumps({"info": {"features": {"tags": feature}}})
    table = pa.table({"tags": [[1, 2, 0], [0]]}).replace_schema_metadata({"huggingface": told})
    parquet.write_table(table, tmp_path / "rows.parquet")

    assert read_table(str(tmp_path / "rows.parquet"), columns={}, required=("tags",)).label_names == TAGS


@pytest.mark.parametrize("feature", [[], {"_type": "List"}, {"_type": "List", "feature": {"_type": "Value"}}, 7, None])
def test_lists_of_anything_else_have_no_names(tmp_path: Path, feature: object) -> None:
    told = json.dumps({"info": {"features": {"tags": feature}}})
    table = pa.table({"tags": [[1, 2, 0], [0]]}).replace_schema_metadata({"huggingface": told})
    parquet.write_table(table, tmp_path / "rows.parquet")

    assert read_table(str(tmp_path / "rows.parquet"), columns={}, required=("tags",)).label_names == ()


def test_tags_of_the_hub_are_told_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: with_lists_of_class_labels())

    table = read_table("owner/name", columns={}, required=("tokens", "tags"))

    assert table.label_names == TAGS
    assert table.columns["tags"] == [[1, 2, 0], [0]]
    assert token_classification.find_labels(table).names == TAGS


def test_a_missing_column_of_parquet_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"sentence": ["a"], "label": ["b"]}), tmp_path / "rows.parquet")

    assert "has no column 'text'; its columns: 'sentence', 'label'" in str(refusal(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("source", "asked"),
    [("glue:sst2", ("glue", "sst2")), ("a/b", ("a/b", None)), ("a/b-1.0:20231101.en", ("a/b-1.0", "20231101.en"))],
)
def test_a_hub_id_is_loaded_with_its_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, asked: tuple[str, str | None]
) -> None:
    calls: list[tuple[str, str | None, str]] = []

    def load(path: str, config: str | None, *, split: str) -> Dataset:
        calls.append((path, config, split))
        return with_class_labels()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)

    table = read(source, split="validation")

    assert calls == [(*asked, "validation")]
    assert table.label_names == ("good", "bad")
    assert table.place(2) == f"{source} row 3"
    assert len(table.sha256) == 64


@pytest.mark.parametrize(
    "fault", [ConnectionError("no network"), ValueError("unknown split"), datasets.exceptions.DatasetNotFoundError("?")]
)
def test_a_hub_that_does_not_answer_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Exception
) -> None:
    def load(*_: object, **__: object) -> Dataset:
        raise fault

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)

    assert str(refusal("owner/name")) == (
        f"cannot load owner/name (split 'train') from the hub, and no file has that name: {fault}"
    )


@pytest.mark.parametrize(("name", "package"), [("rows.parquet", "pyarrow"), ("rows", "datasets")])
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str
) -> None:
    WRITERS[name](tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError) as caught:
        read(tmp_path / name)

    assert "kd-deploy[distill]" in caught.value.hint


def test_a_slip_of_the_pen_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mood.csv").write_text("text,label\na,b\n")

    with pytest.raises(DataError, match=r"there is no data file mood\.cvs") as caught:
        read_table("mood.cvs", columns={}, required=("text",))
    assert caught.value.hint == "did you mean mood.csv?"


def test_a_field_of_any_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'text,label\n"{200_000 * "a"}",x\n', encoding="utf-8")

    found = read_table(str(path), columns={}, required=("text",), optional=("label",), split="train")

    assert len(str(found.columns["text"][0])) == 200_000


def test_rows_of_parquet_count_where_no_column_is_one_of_the_task(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"sentence": ["a", "b"]}), tmp_path / "rows.parquet")

    table = read_table(str(tmp_path / "rows.parquet"), columns={}, required=(), optional=("text",))

    assert (len(table.places), table.columns) == (2, {})


def test_classes_that_are_names_already_stay(tmp_path: Path) -> None:
    with_class_labels().to_parquet(tmp_path / "numbers.parquet")
    numbers = parquet.read_table(tmp_path / "numbers.parquet")
    names = pa.table({"text": ["a", "b", "c"], "label": ["bad", "good", "awful"]}, metadata=numbers.schema.metadata)
    parquet.write_table(names, tmp_path / "names.parquet")

    found = read_table(str(tmp_path / "names.parquet"), columns={}, required=("text", "label"))

    assert list(found.columns["label"]) == ["bad", "good", None]


def test_line_ends_of_carriage_returns_alone_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\ra,pos\rb,neg\r")

    error = refusal(tmp_path / "a.csv")

    assert "a.csv line 1 has line ends of carriage returns alone (\\r)" in str(error)
    assert error.hint == "save it with the line ends of Unix (\\n) or Windows (\\r\\n)"
