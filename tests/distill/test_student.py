"""A student through its stages: each begins where the last ended, and one that is over is not run again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig

from kd_deploy.bundle import Bundle
from kd_deploy.distill import job as job_module
from kd_deploy.distill.check import check_recipe
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.job import Job
from kd_deploy.distill.stages import control_of
from kd_deploy.distill.student import distill_student
from kd_deploy.distill.students.build import check_student, usual_rate
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import BundleError, RecipeError, TrainingError
from kd_deploy.manifest import told
from kd_deploy.pipeline.train import distill
from kd_deploy.recipe import BilstmStudent, Distill, Recipe, StaticStudent, TransformerStudent
from kd_deploy.recipe.objective import SimilarityMatrix
from kd_deploy.tasks.splits import Splits
from tests import tiny, tiny_tasks

TRAIN, VALIDATION = tiny.single_label(48, seed=0), tiny.single_label(32, seed=1)
UNLABELED = tiny.single_label(32, seed=2).inputs
GENERAL = {"objective": [{"term": "hidden", "layers": "uniform"}], "texts": "unlabeled"}
TASK = {"objective": [{"term": "soft_targets"}]}
LABELS = {"objective": [{"term": "hard_labels"}]}
SHARED = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}


def job(work: Path, distill: Any, **sections: Any) -> Job:
    document = {
        "version": 1,
        "task": "text-classification",
        "data": {"max_length": tiny.MAX_LENGTH, "unlabeled": "more.txt"},
        "student": {"architecture": "transformer", "layers": 2},
        "distill": distill,
    }
    splits = Splits(train=TRAIN, validation=VALIDATION, test=None, unlabeled=UNLABELED)
    return Job(recipe=Recipe.of(document | sections), splits=splits, work=work)


def state(bundle: Bundle) -> dict[str, torch.Tensor]:
    return load_model(bundle.path).state_dict()


def same(first: Bundle, second: Bundle) -> bool:
    mine, other = state(first), state(second)
    return all(torch.equal(value, other[name]) for name, value in mine.items())


def test_three_stages_are_told_apart_in_the_bundle(tmp_path: Path, bert_bundle: Bundle) -> None:
    stages = [SHARED | GENERAL, SHARED | TASK, SHARED | LABELS]

    made = distill_student(job(tmp_path / "work", stages), bert_bundle, tmp_path / "made")

    records = made.manifest.training
    assert [one.taking_part for one in records] == [32, 80, 48]
    assert [one.asked > 0 for one in records] == [True, True, False]
    assert [term.split("(")[0] for term in made.manifest.lineage.objective] == [
        "stage 1: hidden",
        "stage 2: soft_targets",
        "stage 3: hard_labels",
    ]
    assert told(records)[0].startswith("Stage 1: It learned from 0 texts with labels and 32 without")


def test_texts_that_were_made_are_told_apart(tmp_path: Path, bert_bundle: Bundle) -> None:
    augmented = SHARED | TASK | {"augment": {"copies": 1}}

    made = distill_student(job(tmp_path / "work", augmented), bert_bundle, tmp_path / "made")

    (record,) = made.manifest.training
    texts = f"48 texts with labels and 32 without, and {record.made} made of them"
    assert 0 < record.made == record.unlabelled - 32
    assert texts in told(made.manifest.training)[0]
    assert f"{record.asked - record.computed} of them from the cache" in told(made.manifest.training)[0]
    assert any(one.startswith("augment(mask=") for one in made.manifest.lineage.objective)


def test_layers_that_were_found_by_likeness_are_told_with_the_matrix(tmp_path: Path, bert_bundle: Bundle) -> None:
    auto = SHARED | {"objective": [{"term": "soft_targets"}, {"term": "hidden", "layers": "auto"}]}

    made = distill_student(job(tmp_path / "work", auto), bert_bundle, tmp_path / "made")

    (found,) = [one for one in told(made.manifest.training) if one.startswith("Layers by likeness")]
    (record,) = made.manifest.training
    assert record.layer_map is not None
    assert record.likeness is not None
    pairs = ", ".join(f"{low} learns from {high}" for low, high in record.layer_map)
    rows = "; ".join(f"{low}: {' '.join(f'{x:.2f}' for x in row)}" for low, row in enumerate(record.likeness))
    assert found == f"Layers by likeness: {pairs}. Linear CKA with each teacher layer, by student layer: {rows}."


def test_a_bilstm_teaches_a_smaller_one(tmp_path: Path, bilstm_bundle: Bundle) -> None:
    small = {"architecture": "bilstm", "hidden_size": 4, "head_size": 4}

    made = distill_student(job(tmp_path / "work", SHARED | TASK, student=small), bilstm_bundle, tmp_path / "made")

    (record,) = made.manifest.training
    assert record.asked > 0
    assert made.manifest.architecture == "bilstm"
    weights = [sum(one.numel() for one in load_model(bundle.path).parameters()) for bundle in (made, bilstm_bundle)]
    assert weights[0] < weights[1]


def test_a_stage_over_layers_alone_keeps_its_last_epoch_and_leaves_the_head(
    tmp_path: Path, bert_bundle: Bundle
) -> None:
    alone = distill_student(job(tmp_path / "one", SHARED | GENERAL), bert_bundle, tmp_path / "general")

    start, made = load_model(bert_bundle.path).state_dict(), state(alone)
    assert_close(made["classifier.weight"], start["classifier.weight"], atol=1e-3, rtol=0)
    assert not torch.equal(
        made["bert.encoder.layer.0.output.dense.weight"], start["bert.encoder.layer.0.output.dense.weight"]
    )


def test_a_stage_begins_where_the_last_one_ended(tmp_path: Path, bert_bundle: Bundle) -> None:
    first = distill_student(job(tmp_path / "one", SHARED | TASK), bert_bundle, tmp_path / "first")
    both = distill_student(job(tmp_path / "two", [SHARED | TASK, SHARED | LABELS]), bert_bundle, tmp_path / "both")

    student = {"architecture": "transformer", "init": str(first.path)}
    then = distill_student(job(tmp_path / "three", SHARED | LABELS, student=student), bert_bundle, tmp_path / "then")

    assert same(both, then)
    assert not same(both, first)


@pytest.mark.parametrize(
    ("second", "student", "message"),
    [
        ({"objective": [{"term": "hidden"}]}, {"vocabulary": 45}, "hidden compares token by token"),
        ({"objective": [{"term": "hard_labels"}], "active": {"budget": 8}}, {}, "no term of the objective needs one"),
    ],
)
def test_a_later_stage_that_fits_nothing_is_refused_before_the_first_is_trained(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, second: Any, student: Any, message: str
) -> None:
    monkeypatch.setattr(job_module, "train_together", lambda *_, **__: pytest.fail("something was trained"))
    shape = {"architecture": "transformer", "layers": 2}
    stages = [SHARED | TASK, SHARED | second]

    with pytest.raises(RecipeError, match=message):
        distill_student(job(tmp_path / "work", stages, student=shape | student), bert_bundle, tmp_path / "made")


def test_a_student_beyond_the_memory_is_told_in_one_sentence(tmp_path: Path, bert_bundle: Bundle) -> None:
    huge = {"architecture": "static", "bigrams": 10**13}

    with pytest.raises(TrainingError, match="the student is too large for the memory"):
        distill_student(job(tmp_path / "work", SHARED | TASK, student=huge), bert_bundle, tmp_path / "made")


def test_a_stage_that_is_over_is_not_run_again(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [SHARED | TASK, SHARED | LABELS]
    whole = distill_student(job(tmp_path / "whole", stages), bert_bundle, tmp_path / "made")
    train, trained = job_module.train_together, []

    def broken(*args: Any, description: str, **rest: Any) -> dict[str, dict[str, float]]:
        trained.append(description)
        if "2 of 2" in description and trained.count(description) == 1:
            raise TrainingError("the power went")
        return train(*args, description=description, **rest)

    monkeypatch.setattr(job_module, "train_together", broken)
    with pytest.raises(TrainingError, match="the power went"):
        distill_student(job(tmp_path / "work", stages), bert_bundle, tmp_path / "again")
    again = distill_student(job(tmp_path / "work", stages), bert_bundle, tmp_path / "again")

    assert trained == ["student stage 1 of 2", "student stage 2 of 2", "student stage 2 of 2"]
    assert same(whole, again)
    assert [one.taking_part for one in again.manifest.training] == [80, 48]


def test_the_control_learns_from_labels_for_as_many_epochs(
    tmp_path: Path, bert_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    train = job_module.train_together

    def watched(model: Any, lessons: Any, **rest: Any) -> dict[str, dict[str, float]]:
        (lesson,) = lessons.values()
        seen.append((rest["settings"].epochs, lesson.objective.teacher_names, len(lesson.data.inputs)))
        return train(model, lessons, **rest)

    monkeypatch.setattr(job_module, "train_together", watched)
    asking = SHARED | TASK | {"active": {"budget": 8, "rounds": 2}}
    distill_student(job(tmp_path / "work", [asking, SHARED | LABELS]), bert_bundle, tmp_path / "c", control=True)

    assert seen == [(3, (), 48)]


@pytest.mark.parametrize("size", ["layers", "encoder_layers"])
def test_sizes_beside_a_checkpoint_to_start_from_are_refused(bert_bundle: Bundle, size: str) -> None:
    student = TransformerStudent.model_validate({"init": str(bert_bundle.path), size: 2})

    with pytest.raises(RecipeError, match=rf"student\.{size}: the sizes are those of student\.init"):
        check_student(student, AutoConfig.from_pretrained(bert_bundle.path), task="text-classification")


@pytest.mark.parametrize("settings", [{"init": "random"}, {"hidden_size": 16}])
def test_layers_by_hand_are_refused_where_none_is_copied(bert_bundle: Bundle, settings: dict[str, Any]) -> None:
    student = TransformerStudent(layers=2, teacher_layers=(0, 1), **settings)

    with pytest.raises(RecipeError, match=r"student\.teacher_layers: no layer is copied"):
        check_student(student, AutoConfig.from_pretrained(bert_bundle.path), task="text-classification")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"student": {"architecture": "bilstm", "embedding_size": 33}}, "student.embedding_size 33 is more"),
        ({"distill": GENERAL | {"patience": 1, "texts": "all"}}, "distill.patience waits for a better validation"),
        ({"distill": GENERAL | {"active": {"budget": 8}, "texts": "all"}}, "needs its hidden"),
        ({"distill": LABELS | {"active": {"budget": 8}}}, "distill.active asks a teacher, and no term"),
    ],
)
def test_what_sizes_and_terms_tell_is_refused_before_training(
    bert_bundle: Bundle, sections: dict[str, Any], message: str
) -> None:
    document = {"version": 1, "task": "text-classification", "teacher": {"model": str(bert_bundle.path)}} | sections

    with pytest.raises(RecipeError, match=message):
        check_recipe(Recipe.of({"student": {"architecture": "transformer", "layers": 2}} | document))


def test_a_control_has_adapters_only_where_every_stage_has() -> None:
    adapted = Distill.model_validate({"adapter": {"method": "lora"}, "learning_rate": 1e-3, "epochs": 2})
    whole = Distill.model_validate({"learning_rate": 1e-4, "epochs": 1})

    control = control_of((whole, adapted))

    assert (control.adapter, control.learning_rate, control.epochs) == (None, 1e-4, 3)
    assert control_of((adapted, adapted)).adapter == adapted.adapter


def test_a_start_with_a_tokenizer_of_its_own_keeps_it(tmp_path: Path, bert_bundle: Bundle) -> None:
    start = tiny.write_checkpoint(tmp_path / "start", tiny.paired(64, seed=3), trained=False)
    student = {"architecture": "transformer", "init": str(start)}

    made = distill_student(job(tmp_path / "work", SHARED | TASK, student=student), bert_bundle, tmp_path / "made")

    vocabulary = open_encoder(made.path, max_length=8).tokenizer.get_vocab()
    assert vocabulary == open_encoder(start, max_length=8).tokenizer.get_vocab()
    assert vocabulary != open_encoder(bert_bundle.path, max_length=8).tokenizer.get_vocab()
    with pytest.raises(RecipeError, match="the term hidden compares token by token") as caught:
        distill_student(job(tmp_path / "other", SHARED | GENERAL, student=student), bert_bundle, tmp_path / "not")
    assert caught.value.hint.startswith("let the student start from this teacher")


def test_the_rate_follows_where_the_weights_come_from(checkpoint: Path) -> None:
    teacher, own = load_model(checkpoint), str(checkpoint)
    rates = {
        1e-4: (TransformerStudent(layers=2), TransformerStudent(init=own), TransformerStudent(hidden_size=32)),
        5e-4: (TransformerStudent(init="random"), TransformerStudent(hidden_size=16, attention_heads=4)),
        1e-3: (BilstmStudent(architecture="bilstm"), StaticStudent(architecture="static")),
    }

    for rate, students in rates.items():
        assert [usual_rate(one, teacher, task="text-classification") for one in students] == [rate] * len(students)
    assert usual_rate(TransformerStudent(layers=2), teacher, task="text-classification", untrained=True) == 5e-4
    assert usual_rate(TransformerStudent(layers=2), teacher, task="text-classification", adapted=True) == 1e-3


UNTRAINED = {
    "scratch": {"layers": 2, "hidden_size": 32, "attention_heads": 4, "vocabulary": 200},
    "endpoint": {"url": "http://localhost:9", "protocol": "oip", "model": "far"},
}


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        ({"adapter": {"method": "lora"}}, "leaves the student's weights as they start, which is at random here"),
        ({"augment": {"copies": 1}}, "replace goes by the teacher's word vectors, and those of teacher.scratch are"),
    ],
)
def test_a_teacher_elsewhere_leaves_random_weights_to_start_from(distill: dict[str, Any], message: str) -> None:
    document = {
        "version": 1,
        "task": "text-classification",
        "teacher": UNTRAINED,
        "student": {"architecture": "transformer", "layers": 1},
        "distill": distill,
    }

    with pytest.raises(RecipeError, match=message):
        check_recipe(Recipe.of(document))


def test_vectors_of_another_width_are_judged_by_scores_alone(tmp_path: Path) -> None:
    recipe = tiny_tasks.recipe_of("sentence-embedding", "transformer", tmp_path)
    student = TransformerStudent(layers=1, hidden_size=16, attention_heads=2)
    settings = recipe.stages[0].model_copy(update={"objective": (SimilarityMatrix(term="similarity_matrix"),)})
    narrower = recipe.model_copy(update={"student": student, "distill": settings})

    with pytest.raises(RecipeError, match=r"validation\.jsonl has no scores, and the student's vectors of 16 numbers"):
        distill(narrower, tmp_path / "made")


def test_terms_over_layers_change_the_vectors_that_are_the_answer(tmp_path: Path) -> None:
    recipe = tiny_tasks.recipe_of("sentence-embedding", "transformer", tmp_path)
    settings = {"objective": (SimilarityMatrix(term="similarity_matrix"),), "patience": 1}

    check_recipe(recipe.model_copy(update={"distill": recipe.stages[0].model_copy(update=settings)}))


def test_a_bilstm_is_not_to_find_spans_where_nothing_tells_it_the_question(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "alike"))
    document = {
        "version": 1,
        "task": "question-answering",
        "teacher": {"model": str(folder), "finetune": {"epochs": 1}},
        "data": {"max_length": tiny.MAX_LENGTH},
        "student": {"architecture": "bilstm"},
    }
    check_recipe(Recipe.of(document))

    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(
        text.replace('"type_id": 1', '"type_id": 0').replace('"type_id":1', '"type_id":0')
    )

    with pytest.raises(RecipeError, match="tells a question from its context by token_type_ids"):
        check_recipe(Recipe.of(document))


def test_a_checkpoint_to_start_from_is_held_against_the_terms_and_the_lengths(
    tmp_path: Path, bert_bundle: Bundle, checkpoint: Path
) -> None:
    def refused(start: Path, **sections: Any) -> str:
        document = {
            "version": 1,
            "task": "text-classification",
            "data": {"max_length": tiny.MAX_LENGTH},
            "teacher": {"model": str(checkpoint)},
            "student": {"architecture": "transformer", "init": str(start)},
        }
        with pytest.raises(RecipeError) as caught:
            check_recipe(Recipe.of(document | sections))
        return str(caught.value)

    config = {"num_hidden_layers": 2, "max_position_embeddings": 12}
    short = Path(shutil.copytree(checkpoint, tmp_path / "short"))
    (short / "config.json").write_text(json.dumps(json.loads((checkpoint / "config.json").read_text()) | config))

    layers = {"objective": [{"term": "hidden", "layers": [[9, 0]]}]}
    assert "the term hidden has layers that do not fit: no such layers: [9, 0]" in refused(checkpoint, distill=layers)
    assert "12 positions" in refused(short)
    several = [{"model": str(checkpoint)}, {"model": str(short)}]
    assert "12 positions" in refused(checkpoint, teacher={"model": several})


def test_a_model_of_an_unknown_type_is_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "newer"))
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "newer-than-all"}
    (folder / "config.json").write_text(json.dumps(config))
    document = {
        "version": 1,
        "task": "text-classification",
        "teacher": {"model": str(folder), "finetune": {"epochs": 1}},
        "student": {"architecture": "bilstm"},
    }

    with pytest.raises(BundleError, match="newer does not load"):
        check_recipe(Recipe.of(document))
