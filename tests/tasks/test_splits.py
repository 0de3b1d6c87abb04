"""Files to the three splits of a recipe."""

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.errors import DataError, RecipeError, UsageError
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import Data
from kd_deploy.tasks import question_answering, sentence_embedding, text2text, text_classification
from kd_deploy.tasks.splits import Splits, read_inputs, read_splits
from kd_deploy.tasks.splits import read as read_source
from kd_deploy.tasks.task import Accepted
from tests.heard import Heard


def read(data: Data) -> Splits:
    return read_splits(data, task=text_classification)


def write(path: Path, count: int, **fields: Any) -> str:
    rows = [{"text": f"{path.stem} {row}", "label": ["bad", "good"][row % 2]} | fields for row in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_tenth_of_train_is_held_back(tmp_path: Path) -> None:
    data = Data(train=write(tmp_path / "train.jsonl", 50))

    splits, again = read(data), read(data)

    assert (len(splits.train), len(splits.validation), splits.test) == (45, 5, None)
    assert {*splits.train.inputs, *splits.validation.inputs} == {f"train {row}" for row in range(50)}
    assert splits.validation.inputs == again.validation.inputs
    assert splits.validation.inputs != read(data.model_copy(update={"seed": 1})).validation.inputs


def test_of_texts_without_scores_no_more_are_held_back_than_say_enough(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\n" + "".join(f"text {row}\n" for row in range(21_000)))

    splits = read_splits(Data(train=str(tmp_path / "train.csv")), task=sentence_embedding)

    assert (len(splits.train), len(splits.validation)) == (19_000, 2_000)


def test_each_class_is_held_back_in_its_share(tmp_path: Path) -> None:
    labels = ["rare"] * 10 + ["usual"] * 30 + ["often"] * 60
    rows = [{"text": f"text {row}", "label": label} for row, label in enumerate(labels)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    for seed in range(5):
        splits = read(Data(train=str(tmp_path / "train.jsonl"), seed=seed))
        counts = [[ids for (ids,) in splits.validation.targets].count(label) for label in range(3)]
        assert counts == [6, 1, 3]  # often, rare, usual


def test_a_held_back_row_keeps_its_label(tmp_path: Path) -> None:
    splits = read(Data(train=write(tmp_path / "train.jsonl", 50)))

    for part in (splits.train, splits.validation):
        assert all(ids == (int(str(text).split()[1]) % 2,) for text, ids in zip(part.inputs, part.targets, strict=True))


def test_texts_without_labels_are_read_from_all_their_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\none\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three", "label": "strange"}\n{"text": "one"}\n')
    (tmp_path / "c.jsonl").write_text('{"context": "four", "text": 4}\n')
    files = [
        str(tmp_path / "a.csv"),
        str(tmp_path / "b.jsonl"),
        {"source": str(tmp_path / "c.jsonl"), "column": "context"},
    ]
    data = Data.model_validate({"train": write(tmp_path / "train.jsonl", 50), "unlabeled": files})

    splits = read(data)

    assert splits.unlabeled == ("one", "two", "three", "four")
    assert splits.labels.names == ("bad", "good")


def test_texts_to_be_judged_by_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"text": "validation 1"}\n{"text": "new"}\n{"text": "new"}\n')
    judged = write(tmp_path / "validation.jsonl", 4)
    data = Data(train=write(tmp_path / "train.jsonl", 50), validation=judged, unlabeled=(str(tmp_path / "more.jsonl"),))

    with reporting_to(heard := Heard()):
        found = read(data).unlabeled

    assert found == ("new",)
    assert heard.said == ["data.unlabeled: 1 of 2 texts stand in validation or test: left out"]


def test_a_file_of_texts_with_another_column_is_told_how_to_name_it(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"sentence": "four"}\n')
    data = Data(train=write(tmp_path / "train.jsonl", 50), unlabeled=(str(tmp_path / "more.jsonl"),))

    with pytest.raises(DataError, match=r"more\.jsonl line 1 has no column 'text'") as refused:
        read(data)

    hint = f"write {{source: {tmp_path / 'more.jsonl'}, column: its name there}} for it in data.unlabeled"
    assert refused.value.hint == hint


def test_a_column_of_another_name_is_the_one_that_a_task_reads(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"english": "four"}\n')
    pairs, asked = tmp_path / "pairs.jsonl", tmp_path / "asked.jsonl"
    pairs.write_text("".join(json.dumps({"source": f"a{row}", "target": "b"}) + "\n" for row in range(20)))
    questions = [{"question": f"who {row}?", "context": f"Ann {row}.", "answer": "Ann"} for row in range(20)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in questions))
    more = {"unlabeled": [{"source": str(tmp_path / "more.jsonl"), "column": "english"}]}

    found = read_splits(Data.model_validate({"train": str(pairs)} | more), task=text2text)

    assert found.unlabeled == ("four",)
    with pytest.raises(RecipeError, match="question-answering reads question and context"):
        read_splits(Data.model_validate({"train": str(asked)} | more), task=question_answering)


def test_unlabeled_texts_are_of_the_form_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "text_pair": "two"}\n')

    with pytest.raises(DataError, match=r"has pairs of texts, .*train\.jsonl has single texts"):
        read(Data(train=write(tmp_path / "train.jsonl", 50), unlabeled=(str(tmp_path / "a.jsonl"),)))


def test_texts_without_labels_can_be_read_sentence_by_sentence(tmp_path: Path) -> None:
    text = 'It was good. I "liked it!" So there?<br /><br />...\nCosts 3.5 dollars。很好！真的'
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    (tmp_path / "pairs.jsonl").write_text('{"text": "one", "text_pair": "two"}\n')
    data = Data(
        train=write(tmp_path / "train.jsonl", 50),
        unlabeled=(str(tmp_path / "a.jsonl"),),
        unlabeled_as="sentences",
    )

    found = read(data).unlabeled

    assert found == ("It was good.", 'I "liked it!"', "So there?", "Costs 3.5 dollars。", "很好！", "真的")
    pairs = write(tmp_path / "trained.jsonl", 50, text_pair="x")
    with pytest.raises(DataError, match=r"pairs\.jsonl has pairs of texts, and data.unlabeled_as is sentences"):
        read(data.model_copy(update={"train": pairs, "unlabeled": (str(tmp_path / "pairs.jsonl"),)}))


def test_nothing_of_what_is_judged_is_learned_from_without_labels(tmp_path: Path) -> None:
    def lines(name: str, *rows: dict[str, Any]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    train = write(tmp_path / "train.jsonl", 50)
    scored = lines("scored", {"text": "One.", "text_pair": "Two. Three.", "score": 1})
    texts = lines("texts", *({"text": text} for text in ("One.", "Two. Three.", "Three.", "Four.")))
    asked = [{"question": f"who {row}?", "context": f"Ann {row}.", "answer": "Ann"} for row in range(20)]
    contexts = lines("contexts", *({"question": "what?", "context": f"Ann {row}."} for row in range(20)))

    vectors = read_splits(Data(train=train, test=scored, unlabeled=(texts,)), task=sentence_embedding)
    sentences = read_splits(
        Data(train=train, test=scored, unlabeled=(texts,), unlabeled_as="sentences"), task=sentence_embedding
    )
    questions = read_splits(Data(train=lines("asked", *asked), unlabeled=(contexts,)), task=question_answering)

    assert vectors.unlabeled == ("Three.", "Four.")
    assert sentences.unlabeled == ("Four.",)
    held_back = {context for _, context in questions.validation.inputs}
    assert held_back
    assert {context for _, context in questions.unlabeled} == {f"Ann {row}." for row in range(20)} - held_back


def test_no_more_texts_without_labels_than_the_limit_are_drawn(tmp_path: Path) -> None:
    more = write(tmp_path / "more.jsonl", 30)
    data = Data(train=write(tmp_path / "train.jsonl", 50), unlabeled=(more,), unlabeled_limit=10)

    found, again = read(data).unlabeled, read(data).unlabeled

    assert found == again
    assert len(set(found)) == 10
    assert found != read(data.model_copy(update={"seed": 1})).unlabeled


def test_files_that_are_named_are_read(tmp_path: Path) -> None:
    names = {"train": 20, "validation": 6, "test": 8}
    splits = read(Data(**{name: write(tmp_path / f"{name}.jsonl", count) for name, count in names.items()}))

    assert splits.test is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 6, 8]
    assert splits.labels.names == ("bad", "good")


def test_a_label_of_test_that_train_lacks_is_named(tmp_path: Path) -> None:
    data = Data(train=write(tmp_path / "train.jsonl", 20), test=write(tmp_path / "test.jsonl", 2, label="ugly"))

    with pytest.raises(DataError, match=r"test\.jsonl line 1: label 'ugly'"):
        read(data)


def test_too_few_rows_to_hold_back_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 rows: too few"):
        read(Data(train=write(tmp_path / "train.jsonl", 4)))


def test_no_training_data_is_a_fault_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match=r"data\.train"):
        read(Data())


def test_a_column_that_the_task_does_not_have_is_named(tmp_path: Path) -> None:
    data = Data(train=write(tmp_path / "train.jsonl", 20), columns={"sentiment": "label"})

    with pytest.raises(RecipeError, match=r"data\.columns\.sentiment"):
        read(data)


def test_without_a_recipe_it_is_a_fault_of_the_command_line(tmp_path: Path) -> None:
    source, columns = write(tmp_path / "rows.jsonl", 4), {"sentiment": "label"}

    with pytest.raises(UsageError, match="--columns sentiment: text-classification has no such column") as caught:
        read_source(Data(columns=columns), source, task=text_classification, split="test")
    with pytest.raises(UsageError, match="--columns sentiment"):
        read_inputs(source, columns=columns, task=text_classification, split="test")

    assert caught.value.hint.startswith("it has: text, ")


def test_one_file_becomes_three_by_shares(tmp_path: Path) -> None:
    data = Data(train=write(tmp_path / "all.jsonl", 200), split=(0.7, 0.15, 0.15))

    splits, again = read(data), read(data)

    assert splits.test is not None
    parts = [set(one.inputs) for one in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [140, 30, 30]
    assert set.union(*parts) == {f"all {row}" for row in range(200)}
    assert splits == again
    assert splits != read(data.model_copy(update={"seed": 1}))


def test_a_limit_draws_from_the_training_rows_alone(tmp_path: Path) -> None:
    names = {name: write(tmp_path / f"{name}.jsonl", 60) for name in ("train", "validation", "test")}

    splits, whole = read(Data(**names, train_limit=20)), read(Data(**names, train_limit=60))

    assert splits.test is not None
    assert [len(one) for one in (splits.train, splits.validation, splits.test)] == [20, 60, 60]
    order = [whole.train.inputs.index(one) for one in splits.train.inputs]
    assert order == sorted(order) != list(range(20))
    assert read(Data(**names, train_limit=20)) == splits


@pytest.mark.parametrize("split", [None, (0.6, 0.2, 0.2)])
def test_rows_of_one_text_stay_together(tmp_path: Path, split: tuple[float, float, float] | None) -> None:
    rows = [{"text": f"text {row % 25}", "label": ["bad", "good"][row % 2]} for row in range(100)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    splits = read(Data(train=str(tmp_path / "train.jsonl"), split=split))

    parts = [part for part in (splits.train, splits.validation, splits.test) if part]
    assert sum(len(part) for part in parts) == 100
    assert sum(len(set(part.inputs)) for part in parts) == 25


@pytest.mark.parametrize("split", [None, (0.6, 0.2, 0.2)])
def test_questions_on_one_context_stay_together(tmp_path: Path, split: tuple[float, float, float] | None) -> None:
    rows = [
        {"question": f"what is {row}?", "context": f"it is {row % 25} here", "answer": f"{row % 25}"}
        for row in range(100)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    splits = read_splits(Data(train=str(tmp_path / "train.jsonl"), split=split), task=question_answering)

    parts = [part for part in (splits.train, splits.validation, splits.test) if part]
    assert sum(len(part) for part in parts) == 100
    assert sum(len({context for _, context in part.inputs}) for part in parts) == 25


def test_another_draw_is_other_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", 50)

    first, same, other = (read(Data(train=train, seed=seed)) for seed in (0, 0, 1))

    assert first.validation.sha256 == same.validation.sha256 != other.validation.sha256
    assert len({first.train.sha256, first.validation.sha256, other.train.sha256}) == 3


def test_a_column_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("premise,hypothesis,gold\na,b,yes\nc,d,no\n")
    columns = {"text": "premise", "text_pair": "hypotesis", "label": "gold"}

    with pytest.raises(DataError, match=r"no column 'hypotesis', which data\.columns names"):
        read(Data(train=str(tmp_path / "train.csv"), columns=columns))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_pairs_are_not_judged_on_single_texts(tmp_path: Path, split: str) -> None:
    train = write(tmp_path / "train.jsonl", 20, text_pair="beside it")

    with pytest.raises(DataError, match=r"other.jsonl has single texts, .*train.jsonl has pairs of texts"):
        read(Data(train=train, **{split: write(tmp_path / "other.jsonl", 20)}))


def test_a_share_too_small_for_a_row_is_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", 8)

    with pytest.raises(DataError, match="too few to hold some back for test") as refused:
        read(Data(train=train, split=(0.9, 0.05, 0.05)))

    assert "data.split" in refused.value.hint


def test_no_text_that_a_student_is_judged_by_is_learned_from_without_its_label(tmp_path: Path) -> None:
    everything = write(tmp_path / "all.jsonl", 60)

    splits = read(Data(train=everything, split=(0.6, 0.2, 0.2), unlabeled=(everything,)))

    assert splits.test is not None
    assert set(splits.unlabeled) == set(splits.train.inputs)
    assert not {*splits.validation.inputs, *splits.test.inputs} & set(splits.unlabeled)


def test_a_column_that_is_named_goes_before_another_that_says_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", 20, labels=["x", "y"])
    named = read_source(Data(columns={"label": "label"}), source, task=text_classification, split="train")
    both = read_source(
        Data(columns={"label": "label", "labels": "labels"}), source, task=text_classification, split="train"
    )
    (tmp_path / "questions.jsonl").write_text('{"question": "Who?", "context": "Ada", "gold": "Ada", "answers": []}\n')
    questions = read_source(
        Data(columns={"answer": "gold"}), str(tmp_path / "questions.jsonl"), task=question_answering, split="train"
    )

    assert text_classification.find_labels(named).names == ("bad", "good")
    assert text_classification.find_labels(both).names == ("x", "y")
    assert question_answering.read_examples(questions, question_answering.find_labels(questions)).targets == (
        Accepted(("Ada",), (0,)),
    )
