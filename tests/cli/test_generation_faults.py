"""What models that write cannot do and their rows cannot hold: the exit code, one sentence, a hint."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.distill.scratch_writers import write_scratch_writer
from kd_deploy.export.settings import ExportSettings
from kd_deploy.pipeline.export import export_made
from kd_deploy.pipeline.train import distill
from kd_deploy.recipe import ScratchModel
from tests import tiny, tiny_tasks, tiny_writers
from tests.cli.conftest import Cli, write_recipe
from tests.cli.test_task_faults import assert_refused, one_term, refuse

PAIR, ALONE, CLASSES = "text2text", "text-generation", "text-classification"
KIND = {PAIR: "bart", ALONE: "gpt2"}
SIZES = ScratchModel(layers=2, hidden_size=16, attention_heads=2, vocabulary=300)
FAULTY_LINE = 4
LONG = " ".join(["the dog likes water"] * 30)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def classifier(home: Path) -> Path:
    """An encoder that tells good from bad, and writes nothing."""
    folder = home / "classifier"
    folder.mkdir()
    sizes = ScratchModel(layers=1, hidden_size=16, attention_heads=2, vocabulary=100)
    write_scratch_model(folder, sizes, inputs=["ana slept"], labels=tiny.SINGLE, max_length=24, seed=0)
    return folder


def document(task: str, home: Path, **sections: Any) -> dict[str, Any]:
    """A recipe of any task that works, with other sections in the place of some."""
    if task in KIND:
        return tiny_writers.document(KIND[task], home / task, **sections)
    folder = home / task
    folder.mkdir(exist_ok=True)
    made = tiny_tasks.recipe_of(task, "bilstm", folder, epochs=1)
    return made.model_dump(mode="json", exclude_unset=True) | sections


def pair(source: object, target: object) -> tiny_tasks.Row:
    return {"source": source, "target": target}


ROWS: dict[str, tuple[str, str, tiny_tasks.Row, str]] = {
    "an empty source": (PAIR, "train", pair("  ", "Hund"), "source is empty"),
    "an empty target": (PAIR, "train", pair("dog", ""), "target is empty"),
    "no target": (PAIR, "validation", pair("dog", None), "target is null, not a text"),
    "a target that is no text": (PAIR, "test", pair("dog", 7), "target is int, not a text"),
    "an empty text": (ALONE, "train", {"text": " \t"}, "text is empty"),
    "no text": (ALONE, "test", {"text": None}, "text is null, not a text"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_faulty_row_is_named_with_its_line(name: str, home: Path, cli: Cli, tmp_path: Path) -> None:
    task, split, row, said = ROWS[name]
    rows = tiny_writers.rows(task, 10, seed=1)
    rows.insert(FAULTY_LINE - 1, row)
    recipe = document(task, home)
    recipe["data"][split] = tiny_tasks.write_rows(tmp_path / "rows.jsonl", rows)

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", recipe))

    assert_refused(outcome, 4, f"error: {tmp_path / 'rows.jsonl'} line {FAULTY_LINE}: {said}", "correct or remove")


WRITERS_ALONE = "it is for text2text and text-generation alone, and this is text-classification"
GENERATION = {"generation": {"max_new_tokens": 8}}
RECIPES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "more layers than the teacher": (
        ALONE,
        {"student": {"architecture": "transformer", "layers": 3}},
        ("student.layers 3 is more than the teacher's 2", "choose fewer layers"),
    ),
    "more decoder layers": (
        PAIR,
        {"student": {"architecture": "transformer", "layers": 3}},
        ("student.layers 3 is more than the teacher's 2", "choose fewer layers"),
    ),
    "more encoder layers": (
        PAIR,
        {"student": {"architecture": "transformer", "encoder_layers": 4}},
        ("student.encoder_layers 4 is more than the teacher's 2", "choose fewer layers"),
    ),
    "encoder layers without an encoder": (
        ALONE,
        {"student": {"architecture": "transformer", "encoder_layers": 1}},
        ("student.encoder_layers", "a student for text-generation has no encoder beside its layers: leave it out"),
    ),
    "layers chosen by hand": (
        PAIR,
        {"student": {"architecture": "transformer", "layers": 1, "teacher_layers": [1]}},
        ("student.teacher_layers", "leave teacher_layers out"),
    ),
    "a part of the vocabulary": (
        PAIR,
        {"student": {"architecture": "lstm", "hidden_size": 8, "vocabulary": 100}},
        ("student.vocabulary", "its entries are what text2text answers with: leave it out"),
    ),
    "a part of the vocabulary alone": (
        ALONE,
        {"student": {"architecture": "transformer", "vocabulary": "auto"}},
        ("student.vocabulary", "its entries are what text-generation answers with: leave it out"),
    ),
    "texts that are made up": (
        ALONE,
        {"distill": {"augment": {"copies": 2}}},
        ("distill.augment", "texts that are made up teach text-generation nothing good: leave it out"),
    ),
    "sources that are made up": (
        PAIR,
        {"distill": {"augment": {}}},
        ("distill.augment", "texts that are made up teach text2text nothing good: leave it out"),
    ),
    "a worst step of two texts": (
        PAIR,
        {"distill": {"fgm": 0.5}},
        ("distill.fgm", "it moves the word vectors of one text, and text2text has a source and a target: leave it out"),
    ),
    "a worst step for the teacher": (
        PAIR,
        {"teacher": {**tiny_writers.SCRATCH, "finetune": {"epochs": 1, "fgm": 0.5}}},
        ("teacher.finetune.fgm", "it moves the word vectors of one text"),
    ),
    "word vectors that the head shares": (
        ALONE,
        {"distill": {"embeddings": "sparse"}},
        ("distill.embeddings", "the head of text-generation shares the word vectors"),
    ),
    "sources that nobody writes targets for": (
        PAIR,
        {"data": {"train": "rows.jsonl", "unlabeled": ["more.jsonl"]}},
        ("data.unlabeled", "sources without targets teach nothing where distill.sequences does not"),
    ),
    "a part of the texts that the teacher writes": (
        PAIR,
        {"distill": {"sequences": {}, "texts": "unlabeled"}},
        ("distill", "sequences takes all texts: leave texts out"),
    ),
    "an lstm without a source": (
        ALONE,
        {"student": {"architecture": "lstm", "hidden_size": 8}},
        ("student.architecture", "lstm is none for text-generation: choose transformer"),
    ),
    "an encoder that is to write": (
        PAIR,
        {"student": {"architecture": "bilstm"}},
        ("student.architecture", "bilstm is none for text2text: choose one of transformer, lstm"),
    ),
    "a way to write for classes": (CLASSES, GENERATION, ("generation", WRITERS_ALONE)),
    "int4 for classes": (
        CLASSES,
        {"export": {"precisions": ["fp32", "int4"]}},
        ("export.precisions", WRITERS_ALONE),
    ),
    "attention between two halves": (
        PAIR,
        {**one_term("attention_kl")},
        ("distill.objective: the term attention_kl reads attention, and that of a bart cannot be read",),
    ),
    "fewer tokens than one": (ALONE, {"generation": {"max_new_tokens": 0}}, ("generation.max_new_tokens", "got 0")),
    "beams by chance": (
        ALONE,
        {"generation": {"beams": 3, "temperature": 0.7}},
        ("generation", "beams", "temperature"),
    ),
}


@pytest.mark.parametrize("name", list(RECIPES))
def test_what_a_writer_cannot_do_is_a_fault_of_the_recipe(name: str, home: Path, cli: Cli, tmp_path: Path) -> None:
    task, sections, said = RECIPES[name]

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", document(task, home, **sections)))

    assert_refused(outcome, 3, *said)


@pytest.mark.parametrize("task", [PAIR, ALONE])
def test_a_classifier_is_no_teacher_of_writing(
    task: str, classifier: Path, home: Path, cli: Cli, tmp_path: Path
) -> None:
    named = write_recipe(tmp_path / "named.yaml", document(task, home, teacher={"model": str(classifier)}))
    other = write_recipe(tmp_path / "other.yaml", document(task, home))

    for outcome in (refuse(cli, named), refuse(cli, other, "--teacher", classifier)):
        assert_refused(outcome, 3, f"teacher.model {classifier} has no head for {task}")


@pytest.mark.parametrize("task", [PAIR, ALONE])
def test_an_encoder_does_not_learn_to_write(task: str, classifier: Path, home: Path, cli: Cli, tmp_path: Path) -> None:
    teacher = {"model": str(classifier), "finetune": {"epochs": 1}}
    recipe = document(task, home, teacher=teacher, student={"architecture": "transformer", "layers": 1})
    recipe["data"]["max_length"] = 24

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", recipe))

    assert outcome.code in (3, 8)
    assert_refused(outcome, outcome.code, str(classifier))


def without_end(folder: Path, task: str) -> Path:
    """A teacher of which nothing says with which token a text ends."""
    folder.mkdir()
    write_scratch_writer(folder, SIZES, task=task, texts=["the dog", "der Hund"], max_length=40, seed=0)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text(encoding="utf-8"))
        said.pop("eos_token_id", None)
        (folder / name).write_text(json.dumps(said | {"eos_token_id": None}), encoding="utf-8")
    return folder


def test_an_lstm_needs_a_token_that_ends_a_text(home: Path, cli: Cli, tmp_path: Path) -> None:
    teacher = without_end(tmp_path / "teacher", PAIR)
    student = {"architecture": "lstm", "hidden_size": 8}
    recipe = document(PAIR, home, teacher={"model": str(teacher)}, student=student)

    outcome = refuse(cli, write_recipe(tmp_path / "recipe.yaml", recipe))

    assert_refused(outcome, 3, "does not say with which tokens a text begins and ends", "eos_token_id")


def student_of(kind: str, base: Path) -> Path:
    return tiny_writers.ran(kind, base) / "student"


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_a_prompt_without_room_is_refused_with_its_length(form: str, base: Path, cli: Cli) -> None:
    outcome = cli("predict", f"{student_of('gpt2', base)}:{form}", LONG)

    room = tiny_writers.LENGTH - 1
    assert_refused(outcome, 2, "text 1: a prompt has", f"the model has room for {room} before an answer", "shorten")


def test_a_line_without_a_word_is_named_and_those_before_it_are_answered(
    base: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"my cat\na girl\n\nthe dog\n")))

    outcome = cli("predict", student_of("gpt2", base))

    assert outcome.code == 4
    assert len(outcome.lines) == 2
    assert "stdin line 3: an empty text gives nothing to begin with" in outcome.err


def test_an_empty_stop_is_none(base: Path, cli: Cli) -> None:
    outcome = cli("predict", student_of("gpt2", base), "my cat", "--stop", "")

    assert_refused(outcome, 2, "--stop", "at least 1 character")


@pytest.mark.parametrize("kind", ["bart", "lstm"])
def test_a_source_that_is_too_long_is_cut(kind: str, base: Path, cli: Cli) -> None:
    outcome = cli("predict", student_of(kind, base), LONG)

    assert outcome.code == 0
    assert set(json.loads(outcome.out)) == {"text", "tokens", "ended"}


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_writing_ends_where_positions_end(kind: str, base: Path, cli: Cli) -> None:
    outcome = cli("predict", student_of(kind, base), "my cat", "--max-new-tokens", 1000, "--temperature", 3)

    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["tokens"] < tiny_writers.LENGTH


def test_there_is_nothing_to_go_on_with(base: Path, cli: Cli) -> None:
    outcome = cli("predict", student_of("gpt2", base), "")

    assert_refused(outcome, 2, "text 1: an empty text gives nothing to begin with", "give it a word")


@pytest.mark.parametrize("kind", tiny_writers.KINDS)
def test_beams_do_not_draw_by_chance(kind: str, base: Path, cli: Cli) -> None:
    outcome = cli("predict", student_of(kind, base), "the dog", "--beams", 2, "--temperature", 0.5)

    assert_refused(outcome, 2, "2 beams follow the likeliest texts, temperature 0.5 draws by chance", "set beams to 1")


@pytest.mark.parametrize(
    ("kind", "line", "said", "hint"),
    [
        ("bart", '{"text": "a dog"}', "has no source that is a string; its keys: text", '{"source": "..."}'),
        ("gpt2", '{"source": "a dog"}', "has no text that is a string; its keys: source", '{"text": "..."}'),
        ("lstm", '{"source": 7}', "has no source that is a string; its keys: source", '{"source": "..."}'),
        ("gpt2", '{"text": "a", "text_pair": "b"}', "text-generation reads single texts", '{"text": "..."}'),
    ],
)
def test_a_line_that_is_no_input_is_named(
    base: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, *, kind: str, line: str, said: str, hint: str
) -> None:
    folder = student_of(kind, base)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{line}\n".encode())))

    assert_refused(cli("predict", folder), 4, "stdin line 1 ", said, hint)


@pytest.mark.parametrize("kind", ["gpt2", "lstm"])
def test_another_exporter_knows_no_writers(kind: str, base: Path, cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "bundle"

    outcome = cli("export", student_of(kind, base), "--backend", "optimum", "--output", output, "--quiet")

    assert_refused(outcome, 2, "--backend optimum exports models that read, and this one writes", "leave --backend out")
    assert not output.exists()


def test_a_classifier_has_no_int4_and_writes_nothing(home: Path, cli: Cli, tmp_path: Path) -> None:
    folder = home / "classes"
    folder.mkdir()
    trained = distill(tiny_tasks.recipe_of(CLASSES, "static", folder, epochs=1), folder / "student")
    export_made(trained, trained.path, settings=ExportSettings(precisions=("fp32",)))

    small = cli("export", trained.path, "--precision", "int4", "--output", tmp_path / "bundle", "--quiet")
    beams = cli("predict", trained.path, "a fine film", "--beams", 2)

    assert_refused(small, 2, f"int4 is for models that write, and this one is for {CLASSES}", "choose fp32 or int8")
    assert not (tmp_path / "bundle").exists()
    assert_refused(beams, 2, f"a model for {CLASSES} writes nothing")


def test_a_damaged_half_of_a_pair_is_named(base: Path, cli: Cli, tmp_path: Path) -> None:
    copied = shutil.copytree(student_of("bart", base), tmp_path / "copied")
    graph = copied / "onnx" / "decoder_model_merged.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")

    assert_refused(cli("predict", copied, "my cat", "--precision", "fp32"), 8, f"{graph} is not the file")
    assert cli("predict", copied, "my cat", "--precision", "int8").code == 0
