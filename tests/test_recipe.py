"""Recipes: every fault at once, with its line and what was meant; overrides; and the way there and back."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import kd_deploy
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import BilstmStudent, Recipe, SoftTargets, TransformerStudent

ROOT = Path(kd_deploy.__file__).parents[1]
SHIPPED = sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("kd_deploy/cli/**/*.yaml")])
MINIMAL = {"version": 1, "task": "text-classification"}
FURTHER = {"topic": {"data": {"train": "t.jsonl"}, "teacher": {"model": "other"}}}

FULL = """version: 1
task: text-classification
data:
  train: train.jsonl
teacher:
  model: some/teacher
student:
  architecture: transformer
  layers: 3
distill:
  objective:
    - {term: soft_targets, weight: 0.9, temperature: 2.0}
    - {term: hard_labels, weight: 0.1}
  epochs: 3
"""


def load(tmp_path: Path, text: str = FULL, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return Recipe.load(path, overrides=overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text, *overrides)
    assert caught.value.hint
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_a_fault_that_was_typed_after_set_is_placed_there(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("version: 1\ntask: text-classification\ndistill:\n  epochs: 3\n  batch_size: 0\n")

    with pytest.raises(RecipeError) as caught:
        Recipe.load(path, overrides=("distill.epochs=0",))

    assert "distill.epochs (--set)" in str(caught.value)
    assert "distill.batch_size (line 5)" in str(caught.value)


def test_all_faults_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    text = FULL.replace("layers: 3", "layres: 3").replace("epochs: 3", "epochs: 0").replace("hard_labels", "hard_label")
    text = text.replace("train: train.jsonl", "train: train.jsonl\n  max_length: long")

    message = refusal(tmp_path, text)

    faults = message.splitlines()
    assert faults[0].endswith("recipe.yaml has 4 faults:")
    assert {fault.strip().partition(":")[0] for fault in faults[1:]} == {
        "data.max_length (line 5)",
        "student.layres (line 10)",
        "distill.objective.1.term (line 14)",
        "distill.epochs (line 15)",
    }
    assert "did you mean 'layers'?" in message
    assert "did you mean 'hard_labels'?" in message
    assert "got 'long'" in message
    assert "got 0" in message


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("task: text-classification", "tsak: text-classification", "did you mean 'task'?"),
        ("version: 1", "version: 2", "version (line 1)"),
        ("version: 1\n", "", "version: missing"),
        ("student:", "studnet:", "studnet (line 7): unknown key, did you mean 'student'?"),
        ("  architecture: transformer", "  architecture: bilstn", "unknown 'bilstn', did you mean 'bilstm'?"),
        ("  architecture: transformer", "  architecture: cnn", "one of transformer, bilstm"),
        ("  architecture: transformer", "  architecture: BiLSTN", "unknown 'BiLSTN', did you mean 'bilstm'?"),
        ("version: 1", 'version: "1"', "version (line 1): must be 1, got '1'"),
        ("train: train.jsonl", f"seed: {'x' * 50}", f"must be a whole number, got '{'x' * 50}'"),
        ("version: 1", "version: true", "version (line 1): must be a number, got True"),
        ("epochs: 3", "texts: [all]", "distill.texts (line 14): must be 'all', 'labeled' or 'unlabeled', got ['all']"),
        ("version: 1", "version: 2", "version (line 1): must be 1, got 2"),
        ("epochs: 3", "epochs:", "distill.epochs (line 14): has no value: give one, or leave it out"),
        ("epochs: 3", "epochs: many", "distill.epochs (line 14): must be a whole number, got 'many'"),
        ("epochs: 3", "epochs: 2.5", "distill.epochs (line 14): must be a whole number, got 2.5"),
        ("epochs: 3", "epochs: 0", "distill.epochs (line 14): must be at least 1, got 0"),
        ("epochs: 3", "warmup: 2", "distill.warmup (line 14): must be at most 1, got 2"),
        ("epochs: 3", "learning_rate: fast", "distill.learning_rate (line 14): must be a number, got 'fast'"),
        ("epochs: 3", "control: perhaps", "distill.control (line 14): must be true or false, got 'perhaps'"),
        ("epochs: 3", "texts: unlabelled", "unknown 'unlabelled', did you mean 'unlabeled'?"),
        ("epochs: 3", "texts: some", "unknown 'some'; give one of all, labeled, unlabeled"),
        ("epochs: 3", "augment: 3", "distill.augment (line 14): must be a section with keys of its own, got 3"),
        ("data:\n  train: train.jsonl", "data: [1]", "data (line 3): must be a section with keys of its own"),
        ("version: 1", "version: 1\nexport: {precisions: int8}", "(line 2): must be a list such as [int8], got 'int8'"),
        ("version: 1", "version: 1\nexport: {precisions: []}", "(line 2): has too few entries: give 1 or more"),
        ("train: train.jsonl", "train: 5", "data.train (line 4): must be a text, got 5"),
        ("train: train.jsonl", "split: [1, 0.5, 0.5]", "data.split.0 (line 4): must be below 1, got 1"),
        (
            "  model: some/teacher",
            "  qqq: some/teacher",
            "teacher.qqq (line 6): unknown key; known: endpoint, finetune, fuse, generation, model",
        ),
        ("  model: some/teacher", "  finetune: {epochs: 1}", "give either model or scratch"),
        ("  model: some/teacher", "  scratch: {layers: 2}", "give finetune as well"),
        ("weight: 0.9, temperature: 2.0", "weight: -1", "distill.objective.0.weight (line 12)"),
        ("temperature: 2.0", "temperature: 0", "temperature (line 12)"),
        ("temperature: 2.0", "temperature: 1.0e-25", "temperature (line 12): must be at least 0.01, got 1e-25"),
        ("temperature: 2.0", "temperature: 1000", "temperature (line 12): must be at most 100, got 1000"),
        (
            "temperature: 2.0",
            "temperature: {start: 0, end: 1}",
            "0.temperature.start (line 12): must be at least 0.01, got 0",
        ),
        ("temperature: 2.0", "temperature: {start: 1}", "0.temperature.end (line 12): missing"),
        (
            "term: hard_labels",
            "term: hidden, layers: uniforn",
            "1.layers (line 13): unknown 'uniforn', did you mean 'uniform'?",
        ),
        ("term: hard_labels", "term: hidden, layers: [[0, -1]]", "1.layers.0.1 (line 13)"),
        ("temperature: 2.0", "temprature: 2.0", "did you mean 'temperature'?"),
        ("term: soft_targets, ", "", "missing; give one of soft_targets, reverse_kl"),
    ],
)
def test_a_fault_is_said_as_a_person_would(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert expected in refusal(tmp_path, FULL.replace(before, after))


def test_a_student_of_no_name_is_a_transformer(tmp_path: Path) -> None:
    assert load(tmp_path, FULL.replace("  architecture: transformer\n", "")) == load(tmp_path)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("report.gates.min_retained=95", "(--set): is a share of what the teacher is worth, such as 0.95, got 95"),
        ("tasks={Topic: {data: {}, teacher: {model: a}}}", "the name of a task has small letters, digits and"),
        ("export.precisions.0=int8", "the recipe has no list precisions of which to set entry 0"),
        ("distill.objective={soft_targets: 0.9}", "must be a list, got {'soft_targets': 0.9}"),
    ],
)
def test_slips_are_told_before_anything_is_done(tmp_path: Path, override: str, told: str) -> None:
    assert told in refusal(tmp_path, FULL, override)


def test_a_section_whose_keys_are_all_commented_out_is_one_left_out(tmp_path: Path) -> None:
    empty = FULL.replace("  layers: 3\n", "  # layers: 3\n") + "export:\n  # precisions: [fp32]\nreport:\n"

    assert load(tmp_path, empty) == load(tmp_path, FULL.replace("  layers: 3\n", ""))


def test_an_objective_without_weight_is_refused(tmp_path: Path) -> None:
    text = FULL.replace("weight: 0.9", "weight: 0").replace("weight: 0.1", "weight: 0")

    assert "every term of the objective has weight 0" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\n  task: [", "recipe.yaml:2 is not valid YAML"),
        ("version: 1\ntask: 2024-13-45", "recipe.yaml:2 holds a value that cannot be read: month must be in 1..12"),
        (f"version: {'1' * 5000}", "recipe.yaml:1 holds a value that cannot be read"),
        (f"version: {'[' * 2000}", "recipe.yaml is nested too deeply"),
        ("\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" if n else "a0: &a0 [1]" for n in range(40)), "unknown key"),
        ("version: 1\ntask: &a [*a]", "task"),
        ("data: {max_length: 1" + "0" * 30 + "}", "data.max_length"),
        ("", "holds no sections"),
        ("- version", "holds no sections"),
        ("just words", "holds no sections"),
    ],
)
def test_what_is_no_recipe_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no recipe"):
        Recipe.load(tmp_path / "nothing.yaml")
    with pytest.raises(RecipeError, match="cannot read"):
        Recipe.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"version: \xff")
    with pytest.raises(RecipeError, match="cannot read"):
        Recipe.load(tmp_path / "latin.yaml")


def test_an_override_is_applied_before_the_check(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        FULL,
        "distill.epochs=7",
        "distill.objective.0.temperature=4",
        "export.precisions=[fp32]",
        "data.columns.text=sentence",
        "export.max_accuracy_drop=null",
    )

    assert recipe.distill.epochs == 7
    assert recipe.distill.objective[0] == SoftTargets(term="soft_targets", weight=0.9, temperature=4)
    assert recipe.export.precisions == ("fp32",)
    assert recipe.data.columns == {"text": "sentence"}
    assert recipe.export.max_accuracy_drop is None


def test_a_later_override_wins(tmp_path: Path) -> None:
    assert load(tmp_path, FULL, "distill.epochs=7", "distill.epochs=8").distill.epochs == 8


def test_a_whole_entry_of_a_list_can_be_replaced(tmp_path: Path) -> None:
    recipe = load(tmp_path, FULL, "distill.objective.1={term: logit_mse, weight: 0.5}")

    assert recipe.distill.objective[1].term == "logit_mse"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.epochs", "has no key and value"),
        ("=3", "has no key and value"),
        ("distill.epocs=3", "did you mean 'epochs'?"),
        ("distill.epochs=many", "distill.epochs"),
        ("distill.objective.5.weight=1", "5 is not one of the 2 entries"),
        ("distill.objective.x=1", "x is not one of the 2 entries"),
        ("version.a.b=1", "lies inside a plain value"),
        ("version.a=1", "lies inside a plain value"),
        ("distill.epochs=[", "not valid YAML"),
        ("distill.seed=2024-13-45", "not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in refusal(tmp_path, FULL, override)


def test_an_override_fills_a_section_that_is_written_empty(tmp_path: Path) -> None:
    assert load(tmp_path, FULL + "export:\n", "export.opset=18").export.opset == 18


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_we_ship_is_valid_and_comes_back_from_yaml(path: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(path)

    assert load(tmp_path, recipe.to_yaml()) == recipe


def test_there_are_recipes_to_ship() -> None:
    assert len(SHIPPED) >= 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"student": {"architecture": "bilstm", "dropout": 0.0}},
        {"student": {"architecture": "transformer", "teacher_layers": [0, 2]}},
        {"teacher": {"scratch": {"layers": 2}, "finetune": {"epochs": 1}}},
        {"data": {"train": "ünïcode: weird #name.jsonl", "columns": {"text": "a: b"}}},
        {"export": {"max_accuracy_drop": None}},
        {"report": {"gates": {"min_speedup": 2}}},
    ],
)
def test_to_yaml_and_back_is_the_same_recipe(tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = Recipe.of(MINIMAL | changes)

    assert load(tmp_path, recipe.to_yaml()) == recipe


def test_a_section_left_out_has_its_defaults() -> None:
    recipe = Recipe.of(MINIMAL)

    assert recipe.student == TransformerStudent()
    assert recipe.export.precisions == ("fp32", "int8")
    assert yaml.safe_load(recipe.to_yaml())["distill"]["objective"][0]["term"] == "soft_targets"
    assert isinstance(Recipe.of(MINIMAL | {"student": {"architecture": "bilstm"}}).student, BilstmStudent)


def test_a_provider_may_be_written_as_onnxruntime_does() -> None:
    given = {"providers": ["CPU", "CUDAExecutionProvider"]}

    assert Recipe.of({"version": 1, "task": "fill-mask", "benchmark": given}).benchmark.providers == ("cpu", "cuda")


def test_a_further_task_is_a_recipe_by_itself() -> None:
    document = yaml.safe_load(FULL) | {
        "tasks": {"topic": {"data": {"train": "t.jsonl", "seed": 3}, "teacher": {"model": "other"}, "weight": 0.5}}
    }
    recipe = Recipe.of(document)

    alone = recipe.of_task("topic")

    assert (alone.data.train, alone.data.seed, alone.data.max_length) == ("t.jsonl", 3, recipe.data.max_length)
    assert alone.teacher is not None
    assert alone.teacher.first == "other"
    assert (alone.tasks, alone.student, alone.distill) == ({}, recipe.student, recipe.distill)
    assert Recipe.of(yaml.safe_load(recipe.to_yaml())) == recipe


def test_labels_are_not_to_be_had_of_texts_without() -> None:
    with pytest.raises(RecipeError, match="hard_labels alone learns from nothing else"):
        Recipe.of(MINIMAL | {"distill": {"texts": "unlabeled", "objective": [{"term": "hard_labels"}]}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill": {"texts": "unlabeled"}}, r"distill\.texts: unlabeled, and data\.unlabeled names no texts"),
        (
            {"distill": [{}, {"texts": "unlabeled"}], "data": {"unlabeled": "a.txt"}, "tasks": FURTHER},
            r"distill\.texts: unlabeled, and tasks\.topic\.data\.unlabeled names no texts",
        ),
        (
            {
                "task": "text2text",
                "data": {"unlabeled": "a.txt"},
                "distill": [{"sequences": {}}, {"texts": "unlabeled"}],
            },
            r"distill\.texts: sources without targets teach text2text nothing",
        ),
        (
            {"distill": {"augment": {}, "objective": [{"term": "hard_labels"}]}},
            r"distill\.augment: texts that are made up have no labels",
        ),
        (
            {
                "distill": {
                    "samples": {"wrong": 0},
                    "objective": [{"term": "hard_labels"}, {"term": "soft_targets", "weight": 0}],
                }
            },
            r"distill\.samples: no teacher is asked where hard_labels are the whole objective",
        ),
        (
            {"data": {"unlabeled": "a.txt"}, "distill": {"texts": "unlabeled", "samples": {"wrong": 0}}},
            "samples.wrong is about texts with labels, and texts: unlabeled has none",
        ),
        ({"data": {"unlabeled_limit": 9}}, "unlabeled_limit is about the texts of unlabeled, and there are none"),
        ({"data": {"unlabeled_as": "sentences"}}, "unlabeled_as is about the texts of unlabeled, and there are none"),
        (
            {"distill": {"augment": {"mask": 0, "replace": 0, "ngram": 0}}},
            "mask, replace and ngram are all 0, which makes no new text",
        ),
        ({"distill": {"augment": {"mask": 1, "replace": 0}}}, "mask: 1 leaves no word of a text"),
        (
            {"distill": {"adapter": {"method": "lora"}, "embeddings": "sparse"}},
            "embeddings: sparse trains the word vectors, and adapter keeps them",
        ),
        (
            {"distill": {"samples": {"wrong": 0}, "objective": [{"term": "hard_labels"}]}},
            r"distill\.samples: no teacher is asked where hard_labels are the whole objective",
        ),
        (
            {"task": "fill-mask", "distill": {"top_k": 5, "objective": [{"term": "hard_labels"}]}},
            r"distill\.top_k: no teacher is asked where hard_labels are the whole objective",
        ),
        (
            {"task": "sentence-similarity", "distill": {"objective": [{"term": "hard_labels", "smoothing": 0.1}]}},
            r"distill\.objective: hard_labels\.smoothing is for labels that are classes",
        ),
        (
            {"teacher": {"model": [{"model": "a"}, {"model": "b", "weight": 0}], "fuse": "best_per_class"}},
            r"teacher: fuse: best_per_class goes by validation alone, and the weight 0 of b counts for nothing",
        ),
        (
            {"teacher": {"model": "a", "fuse": "confidence"}},
            "teacher: fuse: confidence joins the answers of several teachers, and there is one",
        ),
        (
            {"teacher": {"model": [{"model": "a", "weight": 0.3}]}},
            r"teacher: the weight 0\.3 of a counts for nothing beside no other teacher",
        ),
    ],
)
def test_what_would_say_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.of(MINIMAL | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"unlabeled": "a.txt"}, "distill": {"texts": "unlabeled"}},
        {"distill": {"objective": [{"term": "hard_labels", "smoothing": 0.1}]}},
        {"teacher": {"model": [{"model": "a"}, {"model": "b", "weight": 1}], "fuse": "best_per_class"}},
        {"distill": {"augment": {}}},
        {"distill": {"augment": {"mask": 0, "replace": 1, "ngram": 0}}},
        {"distill": {"adapter": {"method": "lora"}, "embeddings": "frozen"}},
        {"data": {"unlabeled": "a.txt", "unlabeled_as": "sentences", "unlabeled_limit": 9}},
        {"distill": {"samples": {"wrong": 0}}},
    ],
)
def test_the_same_is_taken_where_it_counts(changes: dict[str, Any]) -> None:
    recipe = Recipe.of(MINIMAL | changes)

    assert Recipe.of(yaml.safe_load(recipe.to_yaml())) == recipe


def test_one_source_of_texts_needs_no_list() -> None:
    one = Recipe.of(MINIMAL | {"data": {"train": "a.csv", "unlabeled": "b.csv"}})

    assert one.data.unlabeled == ("b.csv",)


@pytest.mark.parametrize(
    ("task", "distill", "message"),
    [
        (
            "text2text",
            {"objective": [{"term": "hidden", "layers": "auto"}]},
            "distill.objective: layers: auto",
        ),
        ("fill-mask", {"augment": {}}, "distill.augment: texts that are made up teach fill-mask nothing good"),
    ],
)
def test_what_says_nothing_to_a_task_is_refused(task: str, distill: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.of(MINIMAL | {"task": task, "distill": distill})


def test_a_scratch_teacher_whose_heads_do_not_share_its_width_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"teacher\.scratch: .*hidden_size 10 is no multiple of attention_heads 4"):
        Recipe.of(MINIMAL | {"teacher": {"scratch": {"hidden_size": 10}, "finetune": {}}})


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("distill.epochs=true", "distill.epochs (--set): must be a number, got True"),
        ("distill.learning_rate=.inf", "distill.learning_rate (--set): must be a finite number"),
        ("generation.beams=true", "generation.beams (--set): must be a number"),
        ("distill.fgm=.nan", "distill.fgm (--set): must be a finite number"),
        (
            "distill.objective=[{term: soft_targets, weight: .inf}]",
            "distill.objective.0.weight (--set): must be a finite number",
        ),
        (
            "distill.objective=[{term: soft_targets, weight: true}]",
            "distill.objective.0.weight (--set): must be a number",
        ),
        (
            "distill.objective=[{term: soft_targets, weight: {start: 0, end: 0}}]",
            "every term of the objective has weight 0",
        ),
        (
            "distill.objective=[{term: alpha_beta, alpha: 0.001, beta: 0.001}]",
            "distill.objective.0 (--set): alpha and beta together must be at least 0.01",
        ),
        ("distill.objective=[{term: decoupled, alpha: 0, beta: 0}]", "alpha and beta are both 0"),
        ("distill.objective=[{term: relational, beta: 0, gamma: 0}]", "beta and gamma are both 0"),
    ],
)
def test_numbers_that_would_teach_nothing_or_no_end_of_it_are_refused(tmp_path: Path, override: str, told: str) -> None:
    assert told in refusal(tmp_path, FULL, override)


def test_the_ends_of_alpha_beta_can_be_asked_for(tmp_path: Path) -> None:
    found = load(tmp_path, FULL, "distill.objective=[{term: alpha_beta, alpha: 0, beta: 1}]")

    assert found.stages[0].objective[0].alpha == 0
