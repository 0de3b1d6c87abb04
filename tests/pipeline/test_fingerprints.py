"""A stage is run again when a model that it reads is another one, and only then."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kd_deploy.bundle import Bundle, sign
from kd_deploy.generation import Generation
from kd_deploy.pipeline.fingerprints import first_teacher, signature, start
from kd_deploy.pipeline.train import _job
from kd_deploy.recipe import Recipe, Teacher, TransformerStudent
from tests import tiny

Change = Callable[[Path], object]


def rewrite(path: Path, **values: object) -> None:
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | values), encoding="utf-8")


CHANGES: dict[str, Change] = {
    "a config": lambda folder: rewrite(folder / "config.json", pad_token_id=7),
    "a tokenizer": lambda folder: rewrite(folder / "tokenizer.json", version="2.0"),
    "how it writes": lambda folder: rewrite(folder / "generation_config.json", num_beams=4),
    "a pooling": lambda folder: rewrite(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_what_a_checkpoint_answers_makes_it_another(
    what: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    teacher, student = Teacher(model=str(folder)), TransformerStudent(architecture="transformer", init=str(folder))
    before = first_teacher(teacher), start(student)

    CHANGES[what](folder)

    assert before[0] != first_teacher(teacher)
    assert before[1] != start(student)


def test_what_is_said_of_a_checkpoint_does_not(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    teacher = Teacher(model=str(folder))
    before = first_teacher(teacher)

    (folder / "README.md").write_text("another word", encoding="utf-8")

    assert before == first_teacher(teacher)


def test_a_student_that_starts_from_its_teacher_has_no_start_of_its_own() -> None:
    assert start(TransformerStudent(architecture="transformer")) == []
    assert first_teacher(None) == []


def test_the_graphs_of_a_precision_are_what_answers_in_it_alone(bert: Bundle, tmp_path: Path) -> None:
    copied = Bundle.open(shutil.copytree(bert.path, tmp_path / "bundle"))
    before = {form: signature(copied, precision=form) for form in (None, "fp32", "int8")}

    with (copied.path / "onnx" / "model_quantized.onnx").open("ab") as graph:
        graph.write(b"\0")
    sign(copied.path, copied.manifest)
    after = {form: signature(Bundle.open(copied.path), precision=form) for form in before}

    assert [form for form in before if before[form] != after[form]] == ["int8"]


def test_who_writes_in_another_way_is_measured_again(bert: Bundle) -> None:
    greedy, beams = (
        replace(bert, manifest=bert.manifest.model_copy(update={"generation": Generation(beams=beams)}))
        for beams in (1, 4)
    )

    assert signature(greedy) != signature(beams)
    assert signature(greedy) == signature(greedy)


def test_a_training_does_not_go_on_from_what_another_teacher_began(checkpoint: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(checkpoint, tmp_path / "teacher")
    rows, texts = tmp_path / "rows.jsonl", tmp_path / "texts.jsonl"
    lines = [{"text": text, "label": tiny.SINGLE.names[ids[0]]} for text, ids in _some_rows()]
    rows.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    texts.write_text('{"text": "a long story"}\n', encoding="utf-8")
    data = {"train": str(rows), "validation": str(rows), "unlabeled": [str(texts)], "max_length": tiny.MAX_LENGTH}
    recipe = Recipe.of({"version": 1, "task": "text-classification", "data": data, "teacher": {"model": str(teacher)}})
    output = tmp_path / "student"

    first = _job(recipe, output).work
    assert _job(recipe, output).work == first
    texts.write_text('{"text": "another story"}\n', encoding="utf-8")
    second = _job(recipe, output).work
    rewrite(teacher / "config.json", pad_token_id=7)

    assert len({first, second, _job(recipe, output).work}) == 3


def _some_rows() -> list[tuple[str, tuple[int, ...]]]:
    found = tiny.single_label(8, seed=0)
    return list(zip(map(str, found.inputs), found.targets, strict=True))
