"""What the tasks cannot do and rows cannot hold, through the real entry point: the exit code, one sentence, a hint."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.export.settings import ExportSettings
from kd_deploy.pipeline.export import export_made
from kd_deploy.pipeline.train import distill
from kd_deploy.recipe import ScratchModel
from tests import tiny, tiny_tasks
from tests.cli.conftest import Cli, Outcome, write_recipe

TAGGING, ASKING = "token-classification", "question-answering"
SCORING, EMBEDDING = "sentence-similarity", "sentence-embedding"
FAULTY_LINE = 3

Row = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def models(home: Path, cache: Path) -> dict[str, Bundle]:
    """A bundle for questions and one for vectors, each with its graph."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(cache))
        for task, student in ((ASKING, "bilstm"), (EMBEDDING, "static")):
            output = home / task / "student"
            trained = distill(tiny_tasks.recipe_of(task, student, folder_of(task, home), epochs=1), output)
            found[task] = export_made(trained, output, settings=ExportSettings(precisions=("fp32",)))
    return found


def folder_of(task: str, home: Path) -> Path:
    folder = home / task
    folder.mkdir(exist_ok=True)
    return folder


def document(task: str, home: Path, **sections: Any) -> dict[str, Any]:
    """A recipe that works, with other sections in the place of some."""
    recipe = tiny_tasks.recipe_of(task, "transformer", folder_of(task, home), epochs=1)
    made: dict[str, Any] = recipe.model_dump(mode="json", exclude_unset=True)
    return made | sections


def assert_refused(outcome: Outcome, code: int, *said: str) -> None:
    """One sentence with all of this in it, and a hint; no answer beside it, and no traceback."""
    assert outcome.code == code, outcome.err
    error = outcome.err[outcome.err.index("error: ") :]
    assert error.count("error: ") == error.count("hint: ") == 1
    assert len(error[error.index("hint: ") :].splitlines()) == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    for part in said:
        assert part in error


def refuse(cli: Cli, recipe: Path, *arguments: object) -> Outcome:
    output = recipe.parent / "made"
    outcome = cli("distill", recipe, "--output", output, "--quiet", *arguments)
    assert not output.exists()
    return outcome


def tagged(*tags: object) -> Row:
    return {"tokens": ["ana", "slept"], "tags": tags}


def asked(text: str, start: int | None) -> Row:
    return {"context": "ana lives in rome", "question": "where", "answers": [{"text": text, "start": start}]}


def scored(score: object) -> Row:
    return {"text": "ana", "text_pair": "bob", "score": score}


UNSEEN = "tag 'B-ORG' is not one of 'O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER'"
OTHER = "at character 13 of the context stands 'rome', not 'oslo'"
SHIFTED = "at character 12 of the context stands ' rom', not 'rome'"
NOWHERE = "the answer 'oslo' is nowhere in the context"
ROWS: dict[str, tuple[str, str, Row, str, str]] = {
    "fewer tags than tokens": (TAGGING, "train", tagged("B-PER"), "2 tokens and 1 tag", "give each word a tag"),
    "a tag that is not BIO": (TAGGING, "train", tagged("PER", "O"), "tag 'PER' is not BIO", "B-X for the first word"),
    "a number of no tag": (TAGGING, "train", tagged(1, 0), "tag 1 is not BIO", "write tags by name"),
    "a tag never seen": (TAGGING, "validation", tagged("B-ORG", "O"), UNSEEN, "add rows with this type"),
    "no tokens": (TAGGING, "train", {"tokens": 7, "tags": ["O"]}, "tokens is 7, not a list", "write a JSON list"),
    "another answer there": (ASKING, "train", asked("oslo", 13), OTHER, "count characters"),
    "an answer elsewhere": (ASKING, "test", asked("rome", 12), SHIFTED, "from 0"),
    "an answer nowhere": (ASKING, "train", asked("oslo", None), NOWHERE, "copy it from there"),
    "a score in words": (SCORING, "train", scored("high"), "score is 'high', not a finite number", "correct or remove"),
    "no end of a score": (SCORING, "test", scored(float("inf")), "score is inf, not a finite number", "the row"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_faulty_row_is_named_with_its_line(name: str, home: Path, cli: Cli, tmp_path: Path) -> None:
    task, split, row, said, hint = ROWS[name]
    rows = tiny_tasks.rows(task, 10, seed=1)
    rows.insert(FAULTY_LINE - 1, row)
    recipe = document(task, home)
    recipe["data"][split] = tiny_tasks.write_rows(tmp_path / "rows.jsonl", rows)

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", recipe))

    assert_refused(outcome, 4, f"error: {tmp_path / 'rows.jsonl'} line {FAULTY_LINE}: {said}", hint)


def test_pairs_to_embed_need_scores(home: Path, cli: Cli, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "text_pair": row["text_pair"]} for row in tiny_tasks.rows(SCORING, 10, seed=1)]
    recipe = document(EMBEDDING, home)
    recipe["data"]["test"] = tiny_tasks.write_rows(tmp_path / "rows.jsonl", rows)

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", recipe))

    assert_refused(outcome, 4, "rows.jsonl has the column text_pair and no column score", "{score: NAME}")


def one_term(term: str, **knobs: Any) -> dict[str, Any]:
    return {"distill": {"objective": [{"term": term, **knobs}]}}


def data(**keys: Any) -> dict[str, Any]:
    return {"data": {"train": "rows.jsonl", **keys}}


ALONE = "for text-classification alone, and this is token-classification"
TERM = "distill.objective: the term"
UNTAUGHT = {"teacher": {"model": "encoder", "finetune": {"epochs": 1}}}
FURTHER = {"tasks": {"mood": {"data": {"train": "mood.jsonl"}, "teacher": {"model": "encoder"}}}}
SEVERAL = {"teacher": {"model": [{"model": "one"}, {"model": "other"}]}}
FEWER = {"student": {"architecture": "transformer", "layers": 1, "vocabulary": 60}, **one_term("soft_targets")}
RECIPES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "static for tags": (
        TAGGING,
        {"student": {"architecture": "static"}},
        ("student.architecture", "static is none for token-classification: choose one of transformer, bilstm"),
    ),
    "bilstm for pairs": (
        SCORING,
        {"student": {"architecture": "bilstm"}},
        ("student.architecture", "bilstm is none for sentence-similarity", "transformer"),
    ),
    "classes of a number": (SCORING, one_term("soft_targets"), (f"{TERM} soft_targets", "a number", "use logit_mse")),
    "classes of a vector": (EMBEDDING, one_term("soft_targets"), (f"{TERM} soft_targets", "a vector", "logit_mse")),
    "labels of a vector": (EMBEDDING, one_term("hard_labels"), (f"{TERM} hard_labels needs labels", "use logit_mse")),
    "distances of places": (ASKING, one_term("logit_mse"), (f"{TERM} logit_mse", "a span is", "use soft_targets")),
    "focus without classes": (
        SCORING,
        one_term("logit_mse", focus="hard"),
        (f"{TERM} logit_mse has focus", "the answer is a number", "leave focus out"),
    ),
    "a teacher for labels": (EMBEDDING, UNTAUGHT, ("teacher.finetune", "sentence-embedding has no labels")),
    "further tasks": (TAGGING, FURTHER, ("tasks", ALONE)),
    "chosen texts": (TAGGING, {"distill": {"active": {"budget": 10, "rounds": 2}}}, ("distill.active", ALONE)),
    "several teachers": (TAGGING, SEVERAL, ("teacher", "for text-classification and sentence-similarity alone")),
    "several vectors": (EMBEDDING, SEVERAL, ("teacher", "for text-classification and sentence-similarity alone")),
    "scores by confidence": (
        SCORING,
        {"teacher": SEVERAL["teacher"] | {"fuse": "confidence"}},
        ("teacher.fuse", "for text-classification alone, and this is sentence-similarity"),
    ),
    "fewer words": (TAGGING, FEWER, (f"{TERM} soft_targets", "other tokens", "set student.vocabulary to full")),
    "shares short of all": (
        TAGGING,
        data(split=[0.5, 0.2, 0.2]),
        ("data (line ", "split is [0.5, 0.2, 0.2], which is not 1 together"),
    ),
    "shares beside a test file": (
        SCORING,
        data(test="test.jsonl", split=[0.6, 0.2, 0.2]),
        ("data (line ", "split makes validation and test of train", "leave split out"),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_task_cannot_do_is_a_fault_of_the_recipe(name: str, home: Path, cli: Cli, tmp_path: Path) -> None:
    task, sections, said = RECIPES[name]

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", document(task, home, **sections)))

    assert_refused(outcome, 3, *said)


def test_a_teacher_of_another_task_is_refused(home: Path, cli: Cli, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    sizes = ScratchModel(layers=1, hidden_size=16, attention_heads=2, vocabulary=100)
    write_scratch_model(teacher, sizes, inputs=["ana slept"], labels=tiny.SINGLE, max_length=tiny.MAX_LENGTH, seed=0)
    named = write_recipe(tmp_path / "named.yaml", document(TAGGING, home, teacher={"model": str(teacher)}))
    other = write_recipe(tmp_path / "other.yaml", document(TAGGING, home))

    for outcome in (refuse(cli, named), refuse(cli, other, "--teacher", teacher)):
        assert_refused(outcome, 3, f"teacher.model {teacher} has no head for {TAGGING}", "add teacher.finetune")


def test_a_question_without_a_context_is_no_argument(models: dict[str, Bundle], cli: Cli) -> None:
    outcome = cli("predict", models[ASKING].path, "where is ana")

    assert_refused(outcome, 2, "question-answering reads pairs", "give a question and a context each")


@pytest.mark.parametrize(
    ("task", "line", "said", "hint"),
    [
        (ASKING, "where is ana", "is a plain text, and question-answering reads pairs", '"context": "..."'),
        (ASKING, '{"question": "where"}', "has no context that is a string; its keys: question", '"context": "..."'),
        (EMBEDDING, '{"txt": "ana"}', "has no text that is a string; its keys: txt", '{"text": "..."}'),
    ],
)
def test_a_line_that_is_no_input_is_named(
    models: dict[str, Bundle],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    *,
    task: str,
    line: str,
    said: str,
    hint: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{line}\n".encode())))

    assert_refused(cli("predict", models[task].path), 4, f"stdin line 1 {said}", hint)


def test_texts_alone_say_nothing_of_a_vector(models: dict[str, Bundle], home: Path, cli: Cli, tmp_path: Path) -> None:
    data = tiny_tasks.write_rows(tmp_path / "rows.jsonl", tiny_tasks.rows(EMBEDDING, 6, seed=1))

    alone = cli("evaluate", models[EMBEDDING].path, "--data", data)
    beside = cli(
        "evaluate", models[EMBEDDING].path, "--data", data, "--against", home / EMBEDDING / "encoder", "--json"
    )

    assert_refused(alone, 4, f"{data} does not say what is right", "--against TEACHER")
    assert json.loads(beside.out)["main_metric"] == "cosine"
