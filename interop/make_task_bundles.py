"""A small bundle of every task besides text-classification, for each kind of student, and what we answer from it."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from make_bundles import PRECISIONS, exported
from numpy.typing import NDArray
from task_proofs import probabilities
from texts import HOSTILE, LONG, PLAIN

from kd_deploy.bundle import Bundle
from kd_deploy.pipeline.train import distill, finetune
from kd_deploy.recipe import Recipe
from kd_deploy.runtime import Predictor, load
from kd_deploy.tasks.encoding import Encoder, TextInput
from kd_deploy.tasks.fill_mask import TOP
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.task import Reading
from tests.tiny_tasks import PEOPLE, PLACES, SIZES, STUDENTS, Row, recipe_of, rows, write_rows

EPOCHS = {"fill-mask": 12}  # and FEW for the others
FEW = 4
LEARNING_RATES = {"transformer": 3e-3, "bilstm": 2e-2, "static": 2e-2}
ORDINARY = 12  # rows like those of the training
MASK = "[MASK]"
HOMES = tuple(zip(PEOPLE, PLACES, strict=True))
FEWEST = 3  # different answers: agreeing with one that is always the same would prove nothing
COLUMNS = {
    "token-classification": ("tokens",),
    "question-answering": ("question", "context"),
    "sentence-similarity": ("text", "text_pair"),
    "sentence-embedding": ("text",),
    "fill-mask": ("text",),
}
BY_HAND: dict[str, tuple[TextInput, ...]] = {
    "token-classification": ("Ana, Bob: ROME!", "dan/bob", "new york", "l\u00edma carla\u2019s", *PLAIN, *HOSTILE),
    "question-answering": (("Where is DAN?", "Dan lives in Oslo. Ana?"), ("?", "x"), ("bob", "bob lives in new york")),
    "sentence-similarity": (*zip(PLAIN, HOSTILE, strict=False), (LONG[0], "short"), ("short", LONG[1]), ("", "")),
    "sentence-embedding": (*PLAIN, *HOSTILE, *LONG),
    "fill-mask": (*(f"{text} {MASK}" for text in (*PLAIN, *HOSTILE)), f"{MASK} {MASK} lives {MASK} oslo", MASK),
}


def main(work: Path) -> None:
    """Write the bundles and expected.json into a new folder."""
    work.mkdir()
    os.environ["KD_DEPLOY_CACHE"] = str(work / "cache")
    expected = {}
    for task in COLUMNS:
        for student, bundle in _students(task, work).items():
            expected[bundle.path.name] = _expected(exported(bundle), student)
    (work / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def _students(task: str, work: Path) -> dict[str, Bundle]:
    """The students of one teacher, which is fine-tuned where there is something to learn."""
    folder = work / f"{task}-data"
    folder.mkdir()
    recipe = recipe_of(task, "transformer", folder, epochs=EPOCHS.get(task, FEW))
    document = recipe.model_dump(mode="json", exclude_unset=True)
    write_rows(folder / "train.jsonl", _rows(task, 480, seed=1))  # more than the recipe came with
    if "finetune" in document["teacher"]:
        teacher = str(finetune(Recipe.of(document), work / f"{task}-teacher").path)
    else:
        teacher = document["teacher"]["model"]
    made = {}
    for student in STUDENTS[task]:
        settings = document["distill"] | {"learning_rate": LEARNING_RATES[student]}
        narrow = Recipe.of(document | {"student": SIZES[student], "distill": settings})
        made[student] = distill(narrow, work / f"{task}-{student}", teacher=teacher)
    return made


def _rows(task: str, count: int, *, seed: int) -> list[Row]:
    found = rows(task, count, seed=seed)
    if task == "sentence-similarity":  # a rule that a narrow model learns: how many of both texts name one of two
        for row in found:
            row["score"] = 2.5 * sum(bool({"ana", "bob"} & {*row[name].split()}) for name in COLUMNS[task])
    if task == "fill-mask":  # who lives where is always the same
        for place, row in enumerate(found):
            row["text"] += " {} lives in {}".format(*HOMES[(seed + place) % len(HOMES)])
    return found


def _expected(bundle: Bundle, student: str) -> dict[str, Any]:
    task = bundle.manifest.task
    with load(bundle, precision="fp32") as predictor:
        inputs = [one for one in _inputs(task) if _is_one_piece(predictor, one)]
    answers = {precision: _answers(bundle, precision, inputs) for precision in PRECISIONS}
    return {
        "task": task,
        "student": student,
        "labels": bundle.manifest.labels,
        "inputs": inputs,
        "ordinary": len(_rows(task, ORDINARY, seed=7)),
        "cut": _cut(bundle, inputs),
        **answers,
    }


def _inputs(task: str) -> list[TextInput]:
    """Rows like those of the training, and some that are not."""
    columns = COLUMNS[task]
    found: list[TextInput] = []
    for row in _rows(task, ORDINARY, seed=7):
        values = [row[name] if isinstance(row[name], str) else " ".join(row[name]) for name in columns]
        found.append(values[0] if len(values) == 1 else (values[0], values[1]))
    if task == "fill-mask":
        found = [" ".join([*str(one).split()[:-1], MASK]) for one in found]
    return [*found, *BY_HAND[task]]


def _is_one_piece(predictor: Predictor, one: TextInput) -> bool:
    # Other tools cut what we read in several pieces.
    return len(predictor.read([one])[0]) == 1


def _cut(bundle: Bundle, inputs: Sequence[TextInput]) -> list[int]:
    """Which inputs are longer than the bundle takes."""
    encoder = Encoder.from_file(bundle.file("tokenizer.json"), max_length=10**6, pad_id=0)
    lengths = [len(one) for one in encoder.encode_all(inputs)]
    return [index for index, length in enumerate(lengths) if length > bundle.manifest.max_length]


def _answers(bundle: Bundle, precision: str, inputs: Sequence[TextInput]) -> dict[str, Any]:
    """Answers, and the probabilities or numbers behind them, one input at a time: dynamic int8 scales by the batch."""
    task = bundle.manifest.task
    with load(bundle, precision=precision) as predictor:
        readings = [predictor.read([one])[0] for one in inputs]
        answers = [predictor.to_json(answer) for answer in TASKS[task].answers(readings, predictor.labels)]
    if len({_gist(answer) for answer in answers}) < FEWEST:
        sys.exit(f"{bundle.path.name} {precision} answers nearly all alike: agreeing with it would prove nothing")
    numbers = [_numbers(reading[0], task=task).tolist() for reading in readings]
    return {"numbers": numbers, "answers": answers}


def _numbers(reading: Reading, *, task: str) -> NDArray[np.float64]:
    if task == "fill-mask":  # of each mask the log-probabilities of the likeliest tokens are kept, and no logits
        return np.exp(reading.logits[:, -TOP:]).astype(np.float64)
    return probabilities(reading.logits, task=task)


def _gist(answer: dict[str, Any]) -> str:
    if "fillings" in answer:
        return str([place[0]["token"] for place in answer["fillings"]])
    if "entities" in answer:
        return str([one["text"] for one in answer["entities"]])
    if "answer" in answer:
        return str(answer["answer"])
    return str([round(value, 1) for value in answer.get("embedding", [answer.get("score")])])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
