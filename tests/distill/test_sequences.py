"""Sequence-level distillation: the teacher's own texts as targets, written once, cut ones never."""

from dataclasses import replace
from pathlib import Path

import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.sequences import with_sequences
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.generation import Generation
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Recipe, Sequences
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import Splits, read_splits
from tests import tiny_writers
from tests.heard import Heard

ROOM = Generation(max_new_tokens=tiny_writers.NEW)
MORE = ("the dog sees snow", "a girl likes water now")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def bundle(base: Path) -> Bundle:
    return Bundle.open(tiny_writers.ran("bart", base) / "teacher")


@pytest.fixture(scope="module")
def teachers(bundle: Bundle, splits: Splits) -> Teachers:
    model = load_model(bundle.path)
    return Teachers(model=model, folder=bundle.path, max_length=tiny_writers.LENGTH, labels=splits.labels)


@pytest.fixture(scope="module")
def splits(base: Path) -> Splits:
    recipe = Recipe.of(tiny_writers.run_document("bart", base))
    found = read_splits(recipe.data, task=TASKS[recipe.task])
    return replace(found, train=found.train.some(range(12)), unlabeled=MORE)


def test_the_targets_are_what_the_teacher_writes(splits: Splits, teachers: Teachers, bundle: Bundle) -> None:
    found = with_sequences(splits, teachers, Sequences(beams=3), generation=ROOM)

    with runtime.load(bundle, precision="fp32") as model:
        model.writer.settings = Generation(beams=3, max_new_tokens=tiny_writers.NEW)
        wanted = [one.text for one in model.predict([*splits.train.inputs, *MORE])]
    assert found.train.inputs == (*splits.train.inputs, *MORE)
    assert list(found.train.targets) == wanted
    assert found.unlabeled == ()


def test_they_are_written_once(splits: Splits, teachers: Teachers, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_sequences(splits, teachers, Sequences(beams=2), generation=ROOM)
    monkeypatch.setattr("kd_deploy.runtime.generation.writer.Writer.write", lambda *_: pytest.fail("asked again"))

    assert with_sequences(splits, teachers, Sequences(beams=2), generation=ROOM) == first
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        with_sequences(splits, teachers, Sequences(beams=1), generation=ROOM)


def test_both_keeps_the_targets_of_the_data_too(splits: Splits, teachers: Teachers) -> None:
    found = with_sequences(splits, teachers, Sequences(beams=1, targets="both"), generation=ROOM)

    assert found.train.targets[-len(splits.train) :] == splits.train.targets
    assert len(found.train) == 2 * len(splits.train) + len(MORE)


def test_a_text_that_was_cut_is_no_target(splits: Splits, teachers: Teachers, bundle: Bundle) -> None:
    with runtime.load(bundle, precision="fp32") as model:
        model.writer.settings = Generation(max_new_tokens=6)
        wanted = [one.text for one in model.predict([*splits.train.inputs, *MORE]) if one.ended]

    with reporting_to(heard := Heard()):
        found = with_sequences(splits, teachers, Sequences(beams=1), generation=Generation(max_new_tokens=6))

    cut = len(splits.train) + len(MORE) - len(wanted)
    assert 0 < cut < len(splits.train)
    assert list(found.train.targets) == wanted
    assert any(f"{cut} did not end within generation.max_new_tokens" in one for one in heard.said)


def test_a_text_that_is_longer_than_a_target_may_be_is_none(splits: Splits, teachers: Teachers) -> None:
    sources = splits.train.inputs
    encoder = open_encoder(teachers.folder, max_length=tiny_writers.LENGTH)
    limit = min(len(encoder.encode(one)) for one in sources) + 1  # most sources are cut, and so are their targets

    found = with_sequences(splits, replace(teachers, max_length=limit), Sequences(beams=1), generation=ROOM).train

    assert 0 < len(found) < len(sources)
    assert all(len(encoder.encode(str(one))) <= limit for one in found.targets)


def test_where_all_are_cut_there_is_nothing_to_learn(splits: Splits, teachers: Teachers) -> None:
    with pytest.raises(RecipeError, match=r"14 did not end within generation\.max_new_tokens") as caught:
        with_sequences(splits, teachers, Sequences(beams=1), generation=Generation(max_new_tokens=1))
    assert "generation.max_new_tokens" in caught.value.hint


def test_sources_without_targets_are_left_to_the_stages_that_write_them(splits: Splits, teachers: Teachers) -> None:
    found = with_sequences(splits, teachers, None, generation=ROOM)

    assert found.train == splits.train
    assert found.unlabeled == ()
