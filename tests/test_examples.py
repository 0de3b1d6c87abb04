"""The recipes under examples/ are recipes, fit their teachers, and say how they are run; its programs answer."""

import io
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from kd_deploy import runtime
from kd_deploy.distill.check import check_recipe
from kd_deploy.generation import Generation
from kd_deploy.pipeline.export import export_model
from kd_deploy.pipeline.train import finetune
from kd_deploy.recipe import Recipe, Teacher
from kd_deploy.recipe.data import Unlabeled
from kd_deploy.recipe.fitting import STUDENTS
from tests import tiny_tasks, tiny_writers

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "examples").rglob("*.yaml"))
DISTILLATION = ROOT / "examples" / "distillation"
PROGRAMS = {
    "answer_questions": "question-answering",
    "compare_sentences": "sentence-similarity",
    "embed_sentences": "sentence-embedding",
    "fill_gaps": "fill-mask",
    "find_entities": "token-classification",
    "translate": "text2text",
    "write_on": "text-generation",
}
CALLED_WITH = {"text2text": "translation", "text-generation": "shakespeare"}  # runs of their own recipes
WRITERS = {"text2text": "bart", "text-generation": "gpt2"}
UNTRAINED = {  # any text will do
    "scratch": {"layers": 1, "hidden_size": 32, "attention_heads": 2, "vocabulary": 320},
    "finetune": {"epochs": 1, "batch_size": 16},
}
STARTERS = sorted((ROOT / "kd_deploy" / "cli" / "starters").glob("*.yaml"))
Run = Callable[..., list[str]]
every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the paths in the recipes start there


def comment_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


def teacher_of(path: Path) -> Teacher:
    teacher = Recipe.load(path).teacher
    assert teacher is not None
    return teacher


def sources_of(path: Path) -> list[str]:
    data = Recipe.load(path).data
    unlabeled = [one.source if isinstance(one, Unlabeled) else one for one in data.unlabeled]
    return [one for one in (data.train, data.validation, data.test, *unlabeled) if one is not None]


def models_of(teacher: Teacher) -> set[str]:
    return {one for one in (teacher.first, *(one.model for one in teacher.several)) if one is not None}


@every_recipe
def test_it_is_a_recipe_that_fits_its_teacher(path: Path) -> None:
    missing = sorted(folder for folder in models_of(teacher_of(path)) if not Path(folder).is_dir())
    if missing:
        pytest.skip(f"{path.name} is a recipe; not there: {', '.join(missing)}")

    check_recipe(Recipe.load(path))


@every_recipe
def test_its_data_is_where_it_says(path: Path) -> None:
    sources = sources_of(path)
    # What a program made of other data lies under runs; all else is there as a whole, or not at all.
    folders = {Path(one).parents[0 if one.startswith("runs/") else 1] for one in sources}
    if not all(one.is_dir() for one in folders):
        pytest.skip(f"no data in {', '.join(sorted(map(str, folders)))}")

    assert [one for one in sources if not Path(one).is_file()] == []


@every_recipe
def test_its_comment_is_short_and_ends_with_its_command(path: Path) -> None:
    *rest, command = comment_of(path)

    assert 1 <= len(rest) <= 4
    assert re.fullmatch(
        rf"# From the project's root: kd-deploy (run|distill|finetune) {path.relative_to(ROOT)} .*", command
    )


def test_a_teacher_under_runs_is_made_by_another_recipe() -> None:
    commands = " ".join(comment_of(path)[-1] for path in RECIPES)
    made = {folder for path in RECIPES for folder in models_of(teacher_of(path)) if folder.startswith("runs/")}

    assert made
    assert {folder for folder in made if f"--output {'/'.join(folder.split('/')[:2])}" not in commands} == set()


def test_each_way_to_distil_has_its_line_in_the_readme() -> None:
    table = re.findall(r"^\| `([\w-]+\.yaml)` \|", (DISTILLATION / "README.md").read_text("utf-8"), flags=re.MULTILINE)

    assert sorted(table) == sorted(path.name for path in DISTILLATION.glob("*.yaml"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small bundle for the task of each program."""
    folder = tmp_path_factory.mktemp("programs")
    return {task: write_model(task, folder / task) for task in PROGRAMS.values()}


def recipe_of(task: str, folder: Path) -> Recipe:
    if task in WRITERS:
        return Recipe.of(tiny_writers.document(WRITERS[task], folder, teacher=UNTRAINED))
    return tiny_tasks.recipe_of(task, "transformer", folder, epochs=8 if task == "token-classification" else 2)


def write_model(task: str, folder: Path) -> str:
    folder.mkdir()
    recipe = recipe_of(task, folder)
    assert recipe.teacher is not None
    trained = finetune(recipe, folder / "trained").path if recipe.teacher.finetune else recipe.teacher.first
    bundle = export_model(
        str(trained),
        folder / "bundle",
        precisions=("fp32",),
        opset=17,
        backend="torch",
        max_accuracy_drop=None,
        examples=None,
    )
    return str(bundle.path)


@pytest.fixture
def run(models: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(program: str, *arguments: str, stdin: Sequence[str] = ()) -> list[str]:
        monkeypatch.setattr(sys, "argv", [program, models[PROGRAMS[program]], *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in stdin)))
        capsys.readouterr()
        runpy.run_path(str(ROOT / "examples" / f"{program}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return call


@pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem)
def test_a_starter_is_a_recipe_of_its_task(path: Path) -> None:
    assert Recipe.load(path).task == path.stem


def test_each_task_has_its_starter() -> None:
    assert {path.stem for path in STARTERS} == set(STUDENTS)


def test_each_program_says_how_it_is_called() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {*PROGRAMS, "embed_plain"}
    for program, task in PROGRAMS.items():
        text = (ROOT / "examples" / f"{program}.py").read_text(encoding="utf-8")
        assert f"\npython examples/{program}.py runs/{CALLED_WITH.get(task, task)}/student " in text


def test_questions_are_answered_from_a_file(run: Run, tmp_path: Path) -> None:
    context, questions = "the film was long and bob lives in oslo", ("where is bob", "where is dan")
    file = tmp_path / "context.txt"
    file.write_text(context, encoding="utf-8")

    lines = [line.split("\t") for line in run("answer_questions", str(file), *questions)]

    assert tuple(question for question, *_ in lines) == questions
    assert all(answer == "no answer" or answer in context for _, answer, _ in lines)
    assert all(0 <= float(score) <= 1 for *_, score in lines)


def test_names_are_found_in_each_line(run: Run) -> None:
    assert run("find_entities", stdin=["we saw bob in new york", "", "the story of carla"]) == [
        "bob (PER), new york (LOC)",
        "",
        "carla (PER)",
    ]


def test_sentences_are_compared_with_the_first(run: Run) -> None:
    others = ["a town", "the film was long", "people saw a story"]

    lines = [line.split("\t") for line in run("compare_sentences", "the film was long", *others)]

    assert sorted(other for _, other in lines) == sorted(others)
    scores = [float(score) for score, _ in lines]
    assert scores == sorted(scores, reverse=True)


def test_the_nearest_lines_come_first(run: Run, models: dict[str, str], tmp_path: Path) -> None:
    texts = ["people in town", "the film was long", "a story of people", "we saw the town"]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    with runtime.load(models["sentence-embedding"]) as model:
        vectors = np.stack([one.vector for one in model.predict(texts)])

    lines = [line.split("\t") for line in run("embed_sentences", str(file), texts[1])]

    assert [text for _, text in lines] == [texts[row] for row in np.argsort(-(vectors @ vectors[1]))[:3]]
    assert lines[0] == ["1.000", texts[1]]


def test_each_gap_has_its_likeliest_words(run: Run, models: dict[str, str]) -> None:
    text = "the film was [MASK] in the [MASK]"
    with runtime.load(models["fill-mask"]) as model:
        (answer,) = model.predict([text])

    lines = [line.split("\t") for line in run("fill_gaps", text)]

    assert lines == [[text, ", ".join(f"{one.token} {one.score:.2f}" for one in place)] for place in answer.places]
    assert len(lines) == 2


def test_each_line_gets_the_text_that_is_written_for_it(run: Run, models: dict[str, str]) -> None:
    sources = ["the dog sees snow", "", "a girl"]
    with runtime.load(models["text2text"]) as model:
        texts = [one.text for one in model.predict(sources)]

    assert run("translate", stdin=sources) == "".join(f"{text}\n" for text in texts).splitlines()


def test_a_prompt_is_gone_on_with(run: Run, models: dict[str, str]) -> None:
    settings = Generation(max_new_tokens=100, temperature=0.8, top_p=0.95)
    with runtime.load(models["text-generation"]) as model:
        written = model.writer.write(["the dog"], settings)[0]

    assert run("write_on", "the dog") == f"the dog{written.text}\n".splitlines()
