"""What is asked of a checkpoint that is used as it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kd_deploy.distill.adopt import adopt_checkpoint, check_fits, require_same_kind
from kd_deploy.errors import BundleError, DataError, RecipeError
from tests import tiny


def test_a_length_beyond_the_positions_names_both_numbers(checkpoint: Path) -> None:
    with pytest.raises(RecipeError, match=rf"{tiny.MAX_LENGTH + 1} is more than the {tiny.MAX_LENGTH} positions"):
        check_fits(checkpoint, max_length=tiny.MAX_LENGTH + 1)


def test_a_tokenizer_with_more_entries_than_word_vectors_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 10}), encoding="utf-8")

    with pytest.raises(BundleError, match="and a model of 10"):
        check_fits(folder, max_length=tiny.MAX_LENGTH)


def test_one_class_and_several_classes_do_not_mix(checkpoint: Path) -> None:
    several = replace(tiny.SINGLE, problem_type="multi_label_classification")

    require_same_kind(checkpoint, tiny.SINGLE, rows="rows.csv")
    with pytest.raises(DataError, match=r"rows\.csv has any number of classes"):
        require_same_kind(checkpoint, several, rows="rows.csv")


def test_an_adopted_checkpoint_keeps_its_classes(checkpoint: Path, tmp_path: Path) -> None:
    bundle = adopt_checkpoint(checkpoint, tmp_path / "bundle", max_length=tiny.MAX_LENGTH, name="the teacher")

    assert bundle.manifest.labels == tiny.SINGLE.names
    assert bundle.manifest.lineage.teacher == "the teacher"


def test_a_model_without_a_head_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(config | {"architectures": ["BertForPreTraining"]}), encoding="utf-8"
    )

    with pytest.raises(DataError, match="no head of a task"):
        adopt_checkpoint(folder, tmp_path / "bundle", max_length=tiny.MAX_LENGTH, name="x")
