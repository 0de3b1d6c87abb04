"""Two tasks of one student: each batch teaches its own part of the head and the body that both share."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from kd_deploy.distill import processes
from kd_deploy.distill import trainer as trainer_module
from kd_deploy.distill.check import check_recipe, teacher_labels
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.job import Job
from kd_deploy.distill.learner import Aim, Learner
from kd_deploy.distill.lessons import Lesson
from kd_deploy.distill.rows import TASK, Collate, Rows, TrainingData
from kd_deploy.distill.student import distill_student
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.terms import labels_alone
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.distill.trainer import DistillTrainer, train_together
from kd_deploy.errors import DataError, RecipeError
from kd_deploy.recipe import BilstmStudent, Recipe, Student, Teacher, TransformerStudent
from kd_deploy.recipe.tasks import MAIN as MAIN_OF_RECIPES
from kd_deploy.tasks.heads import MAIN, joint_labels, lay_out
from kd_deploy.tasks.splits import Splits
from kd_deploy.tasks.task import Examples
from tests import tiny

HEADS = lay_out(tiny.SINGLE, {"topic": tiny.MULTI})
SMALL = BilstmStudent(architecture="bilstm", hidden_size=16, head_size=16, dropout=0.1)
HALF = TransformerStudent(layers=2)
SETTINGS = tiny.SETTINGS.model_copy(update={"learning_rate": 2e-2})
SHARED = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def topic_teacher(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A teacher of the second task, with a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("topic")
    data = tiny.multi_label(64, seed=0)
    checkpoint = tiny.write_checkpoint(folder / "checkpoint", data, trained=False)
    return tiny.bundle_of(load_model(checkpoint), folder / "bundle", checkpoint, tiny.MULTI)


def student(checkpoint: Path, kind: Student = SMALL) -> nn.Module:
    teacher = load_model(checkpoint)
    return build_student(kind, teacher=teacher, teacher_folder=checkpoint, labels=joint_labels(HEADS), seed=0)


def data_of(checkpoint: Path, rows: Examples) -> TrainingData:
    return TrainingData(examples=rows, encoder=open_encoder(checkpoint, max_length=tiny.MAX_LENGTH))


def lessons(checkpoint: Path) -> dict[str, Lesson]:
    rows = {MAIN: tiny.single_label, "topic": tiny.multi_label}
    return {
        name: Lesson(
            objective=labels_alone(),
            data=data_of(checkpoint, rows[name](144, seed=1)),
            validation=data_of(checkpoint, rows[name](40, seed=2)),
            columns=head.columns,
        )
        for name, head in HEADS.items()
    }


def test_every_task_has_its_slice_of_the_logits() -> None:
    assert {name: head.columns for name, head in HEADS.items()} == {"main": slice(0, 2), "topic": slice(2, 5)}
    assert [head.output for head in HEADS.values()] == ["logits", "logits_topic"]
    assert joint_labels(HEADS).names == ("bad", "good", "topic/food", "topic/sport", "topic/music")
    assert MAIN == MAIN_OF_RECIPES


@pytest.mark.parametrize("kind", [SMALL, HALF], ids=["bilstm", "transformer"])
@pytest.mark.parametrize("task", [0, 1])
def test_a_batch_moves_the_body_and_its_own_rows_of_the_head(checkpoint: Path, kind: Student, task: int) -> None:
    model = student(checkpoint, kind)
    given = list(lessons(checkpoint).values())
    rows = Rows(given[task].data, task=task)
    batch = Collate(given[task].data.encoder, input_names(model))([rows[0], rows[1], rows[2]])

    assert batch.pop(TASK, 0) == task
    Learner(model, [lesson.aim for lesson in given])(batch, task).backward()

    head, columns = model.classifier.weight.grad, given[task].columns  # type: ignore[union-attr]
    assert head[columns].abs().sum(dim=1).gt(0).all()
    head[columns] = 0
    assert not head.any()
    body = [one.grad for name, one in model.named_parameters() if name.startswith(("bert.encoder", "lstm"))]
    assert body
    assert all(one is not None and one.any() for one in body)


def test_the_loss_of_a_task_is_that_of_its_own_logits(checkpoint: Path) -> None:
    model, given = student(checkpoint).eval(), list(lessons(checkpoint).values())
    rows = Rows(given[1].data, task=1)
    batch = Collate(given[1].data.encoder, input_names(model))([rows[row] for row in range(8)])

    found = Learner(model, [lesson.aim for lesson in given])(batch, 1)

    logits = model(**{name: batch[name] for name in input_names(model)}).logits[:, 2:]
    each = nn.functional.binary_cross_entropy_with_logits(logits, batch["targets"])
    assert_close(found, 3 * each)  # the sum over its classes


def test_both_tasks_are_learned(checkpoint: Path, tmp_path: Path) -> None:
    model = student(checkpoint)

    settings = SETTINGS.model_copy(update={"epochs": 14})
    found = train_together(model, lessons(checkpoint), settings=settings, work=tmp_path, description="student")

    assert found[MAIN]["accuracy"] > 0.9
    assert found["topic"]["f1"] > 0.8  # all classes of every text: about 0.67


def test_the_best_epoch_is_that_of_the_best_mean(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = itertools.chain([0.9, 0.1, 0.6, 0.8, 0.7, 0.1], itertools.repeat(0.5))  # main, topic; epoch by epoch
    seen: list[dict[str, torch.Tensor]] = []

    def judge(model: nn.Module, *_: object, **__: object) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        value = next(scores)
        return {"accuracy": value, "f1": value}

    monkeypatch.setattr(trainer_module, "evaluate_model", judge)
    model = student(checkpoint)
    settings = SETTINGS.model_copy(update={"epochs": 3})
    train_together(model, lessons(checkpoint), settings=settings, work=tmp_path, description="student")

    assert all(torch.equal(value, seen[2][name]) for name, value in model.state_dict().items())


def test_a_training_that_is_taken_up_again_ends_as_one_in_one_go(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = itertools.count(1)
    monkeypatch.setattr(
        trainer_module, "evaluate_model", lambda *_, **__: dict.fromkeys(("accuracy", "f1"), float(next(counted)))
    )
    settings = SETTINGS.model_copy(update={"epochs": 2})
    whole, parted = student(checkpoint), student(checkpoint)
    train_together(whole, lessons(checkpoint), settings=settings, work=tmp_path / "whole", description="student")
    real, steps = DistillTrainer.compute_loss, itertools.count()

    def interrupted(self: DistillTrainer, *args: Any, **named: Any) -> Any:
        if next(steps) == 20:  # in the second epoch of 18 steps
            raise KeyboardInterrupt
        return real(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(DistillTrainer, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_together(parted, lessons(checkpoint), settings=settings, work=tmp_path / "p", description="student")
    train_together(parted, lessons(checkpoint), settings=settings, work=tmp_path / "p", description="student")

    others = parted.state_dict()
    assert all(torch.allclose(value, others[name], atol=1e-6) for name, value in whole.state_dict().items())


def test_copied_layers_bring_the_teachers_head_for_the_main_task(checkpoint: Path) -> None:
    model, teacher = student(checkpoint, HALF), load_model(checkpoint)

    assert model.classifier.weight.shape == (5, 32)  # type: ignore[union-attr]
    assert_close(model.classifier.weight[:2], teacher.classifier.weight)  # type: ignore[index, union-attr]
    assert model.classifier.weight[2:].any()  # type: ignore[index, union-attr]


def job(work: Path, checkpoint: Path, *, distill: Any = None, **task: Any) -> Job:
    document = {
        "version": 1,
        "task": "text-classification",
        "data": {"max_length": tiny.MAX_LENGTH},
        "teacher": {"model": str(checkpoint)},
        "tasks": {"topic": {"data": {}, "teacher": {"model": str(checkpoint)}} | task},
        "student": {"architecture": "transformer", "layers": 2},
        "distill": distill or SHARED,
    }
    main, topic = tiny.single_label(48, seed=0), tiny.multi_label(32, seed=0)
    return Job(
        recipe=Recipe.of(document),
        splits=Splits(train=main, validation=tiny.single_label(32, seed=1), test=None),
        further={"topic": Splits(train=topic, validation=tiny.multi_label(32, seed=1), test=None)},
        work=work,
    )


def test_a_student_of_two_teachers_says_what_it_learned_from_each(
    tmp_path: Path, checkpoint: Path, bert_bundle: Any, topic_teacher: Any
) -> None:
    stages = [SHARED, SHARED | {"objective": [{"term": "hard_labels"}]}]
    made = distill_student(
        job(tmp_path / "work", checkpoint, distill=stages),
        bert_bundle,
        tmp_path / "made",
        further={"topic": topic_teacher},
    ).manifest

    topic = made.tasks["topic"]
    assert (made.labels, topic.labels) == (tiny.SINGLE.names, tiny.MULTI.names)
    assert [one.labelled for one in made.training] == [48, 48]
    assert [(one.labelled, one.asked) for one in topic.training] == [(32, 32), (32, 0)]
    assert set(topic.metrics) >= {"accuracy", "f1"}
    assert topic.teacher == "tiny"


def test_the_torch_half_opens_as_one_classifier_of_all_classes(
    tmp_path: Path, checkpoint: Path, bert_bundle: Any, topic_teacher: Any
) -> None:
    made = distill_student(
        job(tmp_path / "work", checkpoint), bert_bundle, tmp_path / "made", further={"topic": topic_teacher}
    )

    model = AutoModelForSequenceClassification.from_pretrained(made.path)

    assert list(model.config.id2label.values()) == ["bad", "good", "topic/food", "topic/sport", "topic/music"]
    assert_close(model.classifier.weight, load_model(made.path).classifier.weight)  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match="has several tasks, and a teacher is asked about one"):
        teacher_labels(Teacher(model=str(made.path)), "text-classification")


def test_a_term_by_token_is_refused_for_the_teacher_that_cuts_other_tokens(
    tmp_path: Path, checkpoint: Path, bert_bundle: Any, topic_teacher: Any
) -> None:
    distill = SHARED | {"objective": [{"term": "hidden", "layers": "top"}]}

    with pytest.raises(RecipeError, match=r"tasks\.topic: .*hidden compares token by token"):
        distill_student(
            job(tmp_path / "work", checkpoint, distill=distill),
            bert_bundle,
            tmp_path / "made",
            further={"topic": topic_teacher},
        )


def test_a_further_teacher_of_other_classes_is_refused(tmp_path: Path, checkpoint: Path, bert_bundle: Any) -> None:
    with pytest.raises(DataError, match=r"tasks\.topic: the teacher's classes are \['bad', 'good'\]"):
        distill_student(
            job(tmp_path / "work", checkpoint), bert_bundle, tmp_path / "made", further={"topic": bert_bundle}
        )


def test_several_processes_are_refused(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 2)

    with pytest.raises(RecipeError, match="tasks are learned together in one process, and a launcher started 2"):
        check_recipe(job(tmp_path, checkpoint).recipe)


def test_one_objective_is_one_aim(checkpoint: Path) -> None:
    model = student(checkpoint).eval()
    rows = Rows(lessons(checkpoint)[MAIN].data)
    batch = Collate(lessons(checkpoint)[MAIN].data.encoder, input_names(model))([rows[0]])

    assert_close(Learner(model, labels_alone())(batch), Learner(model, [Aim(objective=labels_alone())])(batch))
