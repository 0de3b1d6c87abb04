"""docs/ says what is so: every term and every knob that it names exists, none is left out, its examples hold."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from kd_deploy.cli.predict import given
from kd_deploy.distill.observe import Shape
from kd_deploy.distill.terms import Ground, build_objective
from kd_deploy.distill.terms.build import READY
from kd_deploy.errors import DataError, RecipeError, UsageError
from kd_deploy.generation import Generation
from kd_deploy.recipe import (
    Active,
    Augment,
    BilstmStudent,
    Data,
    Distill,
    Endpoint,
    FurtherTask,
    LstmStudent,
    OnPolicy,
    Recipe,
    Samples,
    Sequences,
    StaticStudent,
    Teacher,
    Training,
    TransformerStudent,
    fitting,
)
from kd_deploy.recipe.adapter import Adapter
from kd_deploy.recipe.data import TaskData
from kd_deploy.tasks.fill_mask import Filling, Fillings
from kd_deploy.tasks.question_answering import Answer
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.sentence_embedding import Embedding
from kd_deploy.tasks.sentence_similarity import Similarity
from kd_deploy.tasks.splits import read
from kd_deploy.tasks.task import Examples, LabelSpace
from kd_deploy.tasks.text_classification import Classification
from kd_deploy.tasks.token_classification import Entities, Entity
from kd_deploy.tasks.writing import Written
from tests.tiny_tasks import write_rows

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
DISTILLATION, TASKS_PAGE = PAGES["distillation"], PAGES["tasks"]


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def code_in(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE))


CODE = code_in(DISTILLATION) + code_in(PAGES["generation"])
YAML = [(name, block) for name, page in PAGES.items() for block in blocks(page, "yaml")]
PYTHON = [(name, block) for name, page in PAGES.items() for block in blocks(page, "python")]
TERMS = DISTILLATION.split("## The terms of an objective")[1].split("\n## ")[0]
STUDENTS = (TransformerStudent, BilstmStudent, StaticStudent, LstmStudent)
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "data": (Data,),
    "teacher": (Teacher,),
    "student": STUDENTS,
    "distill": (Distill,),
    "endpoint": (Endpoint,),
    "active": (Active,),
    "augment": (Augment,),
    "samples": (Samples,),
    "adapter": (Adapter,),
    "sequences": (Sequences,),
    "on_policy": (OnPolicy,),
    "generation": (Generation,),
}
WRITING = (Sequences, OnPolicy, Generation)
EXPLAINED = (
    *(Distill, Training, Teacher, FurtherTask, Endpoint, Active, Augment, Samples, Adapter),
    *(*WRITING, *STUDENTS, *READY),
)
MINIMAL = {
    "version": 1,
    "task": "text-classification",
    "data": {"train": "train.jsonl"},
    "teacher": {"model": "path/to/teacher"},
}
SECTIONS_OF_TASKS = {text.partition("\n")[0]: text for text in TASKS_PAGE.split("\n## ")[1:]}
ABOUT = {task: text for task, text in SECTIONS_OF_TASKS.items() if task in TASKS}
WRITTEN = {"json": "jsonl", "csv": "csv"}  # kinds of blocks, and the endings of files that hold such rows
ROWS = [(task, kind, block) for task, text in ABOUT.items() for kind in WRITTEN for block in blocks(text, kind)]
NAMES = {
    "text-classification": ("good", "same", "food", "music"),
    "token-classification": ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"),
}
WRITTEN_TEXT = Written(text="drei vier", tokens=(5, 6), ended=True, log_probability=-0.5)
ANSWERS = {
    "text-classification": Classification("good", ("good",), 1.0, {"good": 1.0}),
    "token-classification": Entities((Entity("LOC", "new york", 10, 18, 0.5),)),
    "question-answering": Answer("oslo", 13, 17, 0.5, 0.1),
    "sentence-similarity": Similarity(0.5),
    "sentence-embedding": Embedding(np.ones(4, dtype=np.float32)),
    "fill-mask": Fillings("the film [MASK] long", ((Filling("long", 0.5), Filling("of", 0.25)),)),
    "text2text": WRITTEN_TEXT,
    "text-generation": WRITTEN_TEXT,
}
WORDS = ["we", "saw"]
ASKED = {"context": "dan lives in oslo", "question": "where is dan"}
PAIR = {"text": "a film", "text_pair": "the film", "score": 1}
FAULTY: list[tuple[str, dict[str, Any]]] = [
    ("token-classification", {"tokens": WORDS, "tags": ["O"]}),
    ("token-classification", {"tokens": WORDS, "tags": ["O", "PER"]}),
    ("token-classification", {"tokens": WORDS, "tags": ["O", "B-ORG"]}),
    ("question-answering", ASKED | {"answers": [{"text": "oslo", "start": 3}]}),
    ("question-answering", ASKED | {"answers": [{"text": "rome"}]}),
    ("question-answering", ASKED),
    ("sentence-similarity", PAIR | {"score": "high"}),
    ("sentence-similarity", PAIR | {"text_pair": ""}),
    ("sentence-embedding", {"text": "a film", "score": 1}),
    ("text2text", {"source": "a film", "target": ""}),
    ("text-generation", {"text": ""}),
]


TERMS_OF_RECIPES = {kind.model_fields["term"].annotation.__args__[0]: kind for kind in READY}  # type: ignore[union-attr]


def ground_of(task: str) -> Ground:
    """Two transformers of the usual kind for a task."""
    heads = None if task in fitting.WRITING else 12  # no attention can be read of those that write
    student, teacher = (
        Shape(name="model", depth=n, width=384, embedding_width=384, heads=heads, first_token=heads is not None)
        for n in (3, 6)
    )
    return Ground(student=student, teacher=teacher, level=TASKS[task].LEVEL, answers=TASKS[task].ANSWERS)


def test_every_term_is_in_a_table_of_terms() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", TERMS, flags=re.MULTILINE)) == set(TERMS_OF_RECIPES)


@pytest.mark.parametrize("section", EXPLAINED, ids=lambda section: section.__name__)
def test_every_key_is_explained(section: type[BaseModel]) -> None:
    named = {word for code in CODE for word in re.findall(r"\w+", code)}

    assert set(section.model_fields) - {"term"} <= named


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_it_names_is_one_of_the_recipe(page: str) -> None:
    found = [re.match(r"\w+(\.\w+)+", code) for code in code_in(PAGES[page])]
    paths = [one[0] for one in found if one and _first(one[0]) in SECTIONS]

    assert paths
    for path in paths:
        parts = path.split(".")
        for section, key in itertools.pairwise(parts):
            if section in SECTIONS:
                assert any(key in kind.model_fields for kind in SECTIONS[section]), path


@pytest.mark.parametrize(("page", "block"), YAML)
def test_the_recipes_in_it_are_recipes(page: str, block: str) -> None:
    recipe = Recipe.of(MINIMAL | yaml.safe_load(block))

    for stage in recipe.stages:
        build_objective(stage.objective, ground_of(recipe.task))


@pytest.mark.parametrize(("page", "block"), PYTHON)
def test_the_programs_in_it_run(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {})  # noqa: S102 - our own page


def test_each_task_has_its_students_and_its_recipe() -> None:
    rows = {cells[0]: cells[-1] for cells in table_at("| task | a row is")}

    told = {task.strip("`"): tuple(students.split(", ")) for task, students in rows.items()}
    assert told == {task: students for task, students in fitting.STUDENTS.items() if task in ABOUT}
    tasks = {yaml.safe_load(block).get("task") for _, block in YAML}
    assert tasks - {None} == set(ABOUT)


@pytest.mark.parametrize("task", [task for task in ABOUT if task != "text-classification"])
def test_the_terms_that_fit_a_task_are_those_in_the_table(task: str) -> None:
    column = re.findall(r"[\w-]+", TASKS_PAGE.split("| terms |")[1].splitlines()[0]).index(task) + 1
    told = {term: cells[column] == "yes" for cells in table_at("| terms |") for term in re.findall(r"\w+", cells[0])}

    assert told == {term: fits(term, task) for term in TERMS_OF_RECIPES}


@pytest.mark.parametrize(("task", "kind", "block"), ROWS)
def test_the_rows_in_it_can_be_read(task: str, kind: str, block: str, tmp_path: Path) -> None:
    for number, rows in enumerate([block] if kind == "csv" else block.splitlines()):
        file = tmp_path / f"{number}.{WRITTEN[kind]}"
        file.write_text(rows, encoding="utf-8")
        assert len(examples_in(file, task))


@pytest.mark.parametrize("task", ABOUT)
def test_the_answers_in_it_have_the_keys_of_answers(task: str) -> None:
    call, shown = blocks(ABOUT[task], "console")[0].splitlines()

    assert re.match(r'\$ kd-deploy predict runs/\w+/student "', call)
    assert keys(json.loads(shown)) == keys(TASKS[task].to_json(ANSWERS[task], labels_of(task)))


@pytest.mark.parametrize(("task", "row"), FAULTY)
def test_what_goes_wrong_is_said_in_these_words(task: str, row: dict[str, Any], tmp_path: Path) -> None:
    told = [cells[1].strip("`") for cells in table_at("| task | message") if cells[0] == task]

    with pytest.raises(DataError) as raised:
        examples_in(Path(write_rows(tmp_path / "rows.jsonl", [row])), task)

    assert sum(words in str(raised.value) for words in told) == 1


def test_every_message_in_it_was_called_forth() -> None:
    assert len(table_at("| task | message")) == len(FAULTY)


def test_what_is_refused_without_a_row_is_said_in_these_words() -> None:
    embedding = MINIMAL | {"task": "sentence-embedding"}

    with pytest.raises(RecipeError) as student:
        Recipe.of(embedding | {"student": {"architecture": "bilstm"}})
    with pytest.raises(RecipeError) as term:
        build_objective(Distill().objective, ground_of("sentence-embedding"))
    with pytest.raises(UsageError) as pair:
        given(["where is dan"], TASKS["question-answering"])

    told = [code for code in code_in(SECTIONS_OF_TASKS["What goes wrong most"]) if " " in code]
    for raised in (student, term, pair):
        assert sum(words in str(raised.value) for words in told) == 1


@pytest.mark.parametrize("page", PAGES)
def test_the_readme_leads_to_it(page: str) -> None:
    assert f"(docs/{page}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def table_at(start: str) -> list[list[str]]:
    """The cells of the table in tasks.md whose header begins so."""
    _, _, *rows = (start + TASKS_PAGE.split(f"\n{start}")[1].split("\n\n")[0]).splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def fits(term: str, task: str) -> bool:
    kind: Any = TERMS_OF_RECIPES[term]
    try:
        build_objective([kind(term=term)], ground_of(task))
    except RecipeError:
        return False
    return True


def labels_of(task: str) -> LabelSpace:
    return LabelSpace(task=task, names=NAMES.get(task, ("score",)), problem_type="single_label_classification")


def examples_in(file: Path, task: str) -> Examples:
    kind = TASKS[task]
    table, labels = read(TaskData(), str(file), task=kind, split="test"), labels_of(task)
    if "labels" in table.columns:
        labels = replace(labels, problem_type="multi_label_classification")
    return kind.read_examples(table, labels)


def keys(answer: dict[str, Any]) -> set[str]:
    """The keys of an answer and of the first thing in it."""
    inner = next((value[0] for value in answer.values() if isinstance(value, list)), None)
    return {*answer, *(inner if isinstance(inner, dict) else ())}


def _first(path: str) -> str:
    return path.partition(".")[0]
