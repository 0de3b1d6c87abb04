"""Rows to classes, logits to answers, answers to scores."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError
from kd_deploy.tasks.task import Examples, LabelSpace
from kd_deploy.tasks.text_classification import (
    answer,
    find_labels,
    main_metric,
    metrics,
    predicted_classes,
    read_examples,
    read_inputs,
    statistics,
)

SINGLE = LabelSpace(names=("bad", "good"), problem_type="single_label_classification")
MULTI = LabelSpace(names=("a", "b", "c"), problem_type="multi_label_classification")


def table(*, label_names: tuple[str, ...] = (), **columns: Sequence[object]) -> Table:
    count = len(next(iter(columns.values())))
    columns = {"text": [f"text {row}" for row in range(count)]} | columns
    places = range(2, count + 2)  # a header stands on line 1
    return Table(
        source="rows.csv", columns=columns, places=places, unit="line", sha256="0" * 64, label_names=label_names
    )


def score(
    predictions: Sequence[tuple[int, ...]], references: Sequence[tuple[int, ...]], *, class_count: int
) -> dict[str, float]:
    labels = LabelSpace(names=tuple(map(str, range(class_count))), problem_type="multi_label_classification")
    return metrics(statistics(predictions, references, labels))


def read(rows: Table, *, teacher: tuple[str, ...] = ()) -> Examples:
    return read_examples(rows, find_labels(rows, teacher=teacher))


@pytest.mark.parametrize(
    ("labels", "names", "targets"),
    [
        (["good", "bad", "good"], ("bad", "good"), ((1,), (0,), (1,))),
        ([1, 0, 1], ("0", "1"), ((1,), (0,), (1,))),
        ([1.0, 0.0, 1.0], ("0", "1"), ((1,), (0,), (1,))),
        ([True, False, True], ("False", "True"), ((1,), (0,), (1,))),
        ([10, 9, 2], ("2", "9", "10"), ((2,), (1,), (0,))),
        ([np.int64(1), np.int64(0), np.float64(1.0)], ("0", "1"), ((1,), (0,), (1,))),
        (["²", "1", "²"], ("1", "²"), ((1,), (0,), (1,))),
    ],
)
def test_labels_become_ids_in_a_fixed_order(
    labels: list[Any], names: tuple[str, ...], targets: tuple[tuple[int, ...], ...]
) -> None:
    examples = read(table(label=labels))

    assert examples.labels == LabelSpace(names=names, problem_type="single_label_classification")
    assert examples.targets == targets


@pytest.mark.parametrize(
    "labels",
    [
        [["b", "a"], [], ["b"]],
        ["b|a", "", "b"],
        ["b | a", " ", "b "],
        ['["b", "a"]', "[]", '["b"]'],
        [("b", "a", "b"), (), np.array(["b"])],
    ],
)
def test_several_labels_are_lists_or_joined_names(labels: list[Any]) -> None:
    examples = read(table(labels=labels))

    assert examples.labels == LabelSpace(names=("a", "b"), problem_type="multi_label_classification")
    assert examples.targets == ((0, 1), (), (1,))


def test_names_that_the_file_gives_keep_their_order() -> None:
    assert read(table(label=["good", "bad"], label_names=("good", "bad"))).targets == ((0,), (1,))


def test_pairs_are_read_as_pairs() -> None:
    rows = table(text=["a", "b"], text_pair=["c", "d"], label=["x", "y"])

    assert read(rows).inputs == read_inputs(rows) == (("a", "c"), ("b", "d"))


def test_inputs_need_no_labels() -> None:
    assert read_inputs(table(text=["a", "b"])) == ("a", "b")


FAULTS: dict[str, tuple[dict[str, Sequence[object]], str]] = {
    "an empty text": ({"text": ["a", " \n"], "label": ["x", "y"]}, "line 3: text is empty"),
    "a null text": ({"text": ["a", None], "label": ["x", "y"]}, "line 3: text is null"),
    "a text that is a number": ({"text": ["a", 3], "label": ["x", "y"]}, "line 3: text is int, not a text"),
    "an empty second text": ({"text_pair": ["a", ""], "label": ["x", "y"]}, "line 3: text_pair is empty"),
    "a null second text": ({"text_pair": [None, "a"], "label": ["x", "y"]}, "line 2: text_pair is null"),
    "a null label": ({"label": ["x", None, "y"]}, "line 3: label is null"),
    "an empty label": ({"label": ["x", "", "y"]}, "line 3: label is null"),
    "a label that is NaN": ({"label": [0.0, 1.0, math.nan]}, "line 4: label is null"),
    "a label that is a fraction": ({"label": ["x", 1.5]}, "line 3: label 1.5 is not the name of a class"),
    "an infinite label": ({"label": ["x", math.inf]}, "line 3: label inf is not the name of a class"),
    "a label that is a list": ({"label": ["x", ["y"]]}, "line 3: label .* is not the name of a class"),
    "a single class": ({"label": ["x", "x"]}, "rows.csv has a single class, 'x'"),
    "no label column": ({"text": ["a", "b"]}, "rows.csv has no column label"),
    "labels that are a number": ({"labels": [["x"], 3]}, "line 3: labels is 3, not a list of classes"),
    "labels that are null": ({"labels": [["x"], None]}, "line 3: labels is None, not a list"),
    "a null among labels": ({"labels": [["x"], ["y", None]]}, "line 3: label is null"),
    "a NaN among labels": ({"labels": [["x"], ["y", math.nan]]}, "line 3: label is null"),
    "a yes or no for each of two classes": ({"labels": [[1, 0], [0, 1]]}, "line 2: labels is .1, 0., which says"),
    "a yes or no for each class": ({"labels": [[1, 0], [0, 1, 0]]}, "line 3: labels is .0, 1, 0., which says"),
    "the same from a CSV": ({"labels": ["[0.0, 1.0, 0.0]"]}, "line 2: labels is .0.0, 1.0, 0.0., which"),
    "no label anywhere": ({"labels": [[], []]}, "rows.csv has no class at all"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_bad_row_is_named_with_its_line(fault: str) -> None:
    columns, message = FAULTS[fault]

    with pytest.raises(DataError, match=message) as caught:
        read(table(**columns))
    assert caught.value.hint


def test_a_label_that_training_never_saw_is_named() -> None:
    with pytest.raises(DataError, match=r"line 3: label 'ugly' is not one of the classes 'bad', 'good'"):
        read_examples(table(label=["good", "ugly"]), SINGLE)
    with pytest.raises(DataError, match="line 2: label 'd'"):
        read_examples(table(labels=[["a", "d"]]), MULTI)


@pytest.mark.parametrize("labels", [["0", "0"], ["3", "0"]])
def test_a_number_that_is_no_class_is_not_taken_for_a_place(labels: list[str]) -> None:
    stars = LabelSpace(names=("1", "2", "3"), problem_type="single_label_classification")

    with pytest.raises(DataError, match="label '0' is not one of"):
        read_examples(table(label=labels), stars)


def test_a_hundred_classes_are_not_all_listed() -> None:
    many = LabelSpace(names=tuple(f"c{k}" for k in range(100)), problem_type="single_label_classification")

    with pytest.raises(DataError, match=r"'c7' and 92 more$"):
        read_examples(table(label=["x"]), many)


def test_the_teachers_order_is_the_order_of_the_logits() -> None:
    examples = read(table(label=["good", "bad"]), teacher=("good", "bad", "other"))

    assert examples.labels.names == ("good", "bad", "other")
    assert examples.targets == ((0,), (1,))


@pytest.mark.parametrize("labels", [[1, 0], ["1", "0"], [1.0, 0.0]])
def test_numbers_are_ids_of_the_teachers_classes(labels: list[Any]) -> None:
    assert read(table(label=labels), teacher=("good", "bad")).targets == ((1,), (0,))


@pytest.mark.parametrize("labels", [["good", "fine"], [0, 2], ["good", "0"]])
def test_labels_that_the_teacher_does_not_know_are_refused(labels: list[Any]) -> None:
    with pytest.raises(DataError, match="teacher's classes are 'good', 'bad'") as caught:
        find_labels(table(label=labels), teacher=("good", "bad"))
    assert "teacher.finetune" in caught.value.hint


def test_a_few_of_the_teachers_classes_are_enough() -> None:
    assert find_labels(table(label=["good", "good"]), teacher=("good", "bad")).names == ("good", "bad")


def test_one_label_is_the_largest_logit() -> None:
    logits = np.array([[0.1, -0.1], [-5, 3]], dtype=np.float32)

    assert predicted_classes(logits, SINGLE) == ((0,), (1,))


def test_several_labels_are_all_above_one_half() -> None:
    logits = np.array([[0.1, -0.1, 4], [-1, -2, -3]], dtype=np.float32)

    assert predicted_classes(logits, MULTI) == ((0, 2), ())


def test_an_answer_has_the_probability_of_every_class() -> None:
    found = answer(np.array([1.0, 3.0], dtype=np.float32), SINGLE)

    p = 1 / (1 + math.exp(-2))
    assert (found.label, found.labels) == ("good", ("good",))
    assert found.scores == pytest.approx({"bad": 1 - p, "good": p})
    assert found.score == pytest.approx(p)


def test_an_answer_with_several_labels_has_no_single_one() -> None:
    found = answer(np.array([2.0, -2.0, 0.5], dtype=np.float32), MULTI)

    assert (found.label, found.labels) == (None, ("a", "c"))
    assert found.scores == pytest.approx(
        {name: 1 / (1 + math.exp(-x)) for name, x in zip("abc", (2, -2, 0.5), strict=True)}
    )
    assert answer(np.array([-2.0, -2.0, -1], dtype=np.float32), MULTI).labels == ()


@pytest.mark.parametrize("labels", [SINGLE, MULTI])
@pytest.mark.parametrize("size", [0.0, 1e4, -1e4])
def test_probabilities_of_extreme_logits_are_finite(labels: LabelSpace, size: float) -> None:
    logits = np.zeros(len(labels.names), dtype=np.float32)
    logits[0] = size

    assert all(0 <= value <= 1 for value in answer(logits, labels).scores.values())


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_one_label_are_those_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual, predicted = rng.integers(0, 5, 50), rng.integers(0, 4, 50)

    found = score([(int(k),) for k in predicted], [(int(k),) for k in actual], class_count=7)

    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(actual, predicted),
            "f1": f1_score(actual, predicted, average="micro"),
            "macro_f1": f1_score(actual, predicted, average="macro"),
        }
    )


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_several_labels_are_those_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual, predicted = rng.random((40, 5)) < 0.3, rng.random((40, 5)) < 0.4

    found = score(rows(predicted), rows(actual), class_count=5)

    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(actual, predicted),
            "f1": f1_score(actual, predicted, average="micro"),
            "macro_f1": f1_score(actual, predicted, average="macro"),
        }
    )


def rows(indicator: np.ndarray[Any, Any]) -> list[tuple[int, ...]]:
    return [tuple(int(k) for k in np.flatnonzero(row)) for row in indicator]


def test_right_is_one_and_wrong_is_zero() -> None:
    assert score([(0,), (1,)], [(0,), (1,)], class_count=2) == {"accuracy": 1, "f1": 1, "macro_f1": 1}
    assert score([(1,), (0,)], [(0,), (1,)], class_count=2) == {"accuracy": 0, "f1": 0, "macro_f1": 0}
    assert score([(), ()], [(), ()], class_count=2) == {"accuracy": 1, "f1": 0, "macro_f1": 0}


def test_the_main_metric_is_the_tasks() -> None:
    for labels, metric in ((SINGLE, "accuracy"), (MULTI, "f1")):
        assert main_metric(Examples(inputs=(), targets=(), labels=labels, source="", sha256="")) == metric


def test_rows_that_are_drawn_again_count_again() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 50, 50)
    predicted, actual = (tuple((int(k),) for k in rng.integers(0, 4, 50)) for _ in range(2))
    labels = LabelSpace(names=tuple("abcd"), problem_type="single_label_classification")
    counted = metrics(statistics(predicted, actual, labels), np.bincount(drawn, minlength=50))

    written_out = statistics([predicted[row] for row in drawn], [actual[row] for row in drawn], labels)
    assert counted == pytest.approx(metrics(written_out))


@pytest.mark.parametrize("cell", ["['food', 'music']", '["food", "music"]', "food | music", " ['food','music'] "])
def test_a_cell_of_a_csv_may_hold_a_list_however_it_was_written(cell: str) -> None:
    assert read(table(text=["a", "b"], labels=[cell, "[sic]"])).labels.names == ("[sic]", "food", "music")


def test_a_list_without_commas_is_refused() -> None:
    with pytest.raises(DataError, match="a list without commas"):
        read(table(text=["a"], labels=["['food' 'music']"]))


@pytest.mark.parametrize("labels", [["bad", "good"], []])
def test_several_classes_are_none_for_a_model_that_gives_one(labels: list[str]) -> None:
    known = read(table(text=["a", "b"], label=["bad", "good"])).labels

    with pytest.raises(DataError, match=rf"there are {len(labels)} classes, and the model gives one"):
        read_examples(table(text=["c"], labels=[labels]), known)
