"""Where two vocabularies part."""

import json
from pathlib import Path

from kd_deploy.distill.parting import parting


def folder(path: Path, *entries: str) -> Path:
    path.mkdir()
    vocabulary = {token: number for number, token in enumerate(entries)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    (path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    return path


def test_equal_vocabularies_do_not_part(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", "[UNK]", "so"), folder(tmp_path / "b", "[UNK]", "so")

    assert parting(one, other) is None


def test_the_first_entry_that_differs_is_named(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", "[UNK]", "so", "on"), folder(tmp_path / "b", "[UNK]", "on", "so", "far")

    assert parting(one, other) == "3 entries against 4, and 'so', with the id 1 here, has the id 2 there"


def test_an_entry_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", "[UNK]", "so"), folder(tmp_path / "b", "[UNK]", "on")

    assert parting(one, other) == "2 entries against 2, and 'so', with the id 1 here, is not there at all"


def test_a_vocabulary_that_goes_on_is_told_so(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", "[UNK]", "so"), folder(tmp_path / "b", "[UNK]", "so", "on")

    assert parting(one, other) == "2 entries against 3, of which the first 2 are the same"
