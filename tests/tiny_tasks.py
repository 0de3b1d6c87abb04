"""Rows of every task, so plain that a narrow model learns them in seconds."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kd_deploy.distill.heads import auto_class
from kd_deploy.distill.scratch import write_scratch_model
from kd_deploy.recipe import Recipe, ScratchModel
from kd_deploy.tasks.task import LabelSpace
from tests import tiny

Row = dict[str, Any]
PEOPLE, PLACES = ("ana", "bob", "carla", "dan"), ("rome", "oslo", "lima", "new york")
STUDENTS = {
    "text-classification": ("transformer", "bilstm", "static"),
    "token-classification": ("transformer", "bilstm"),
    "question-answering": ("transformer", "bilstm"),
    "sentence-similarity": ("transformer",),
    "sentence-embedding": ("transformer", "static"),
    "fill-mask": ("transformer",),
}
FITTING = [(task, student) for task, students in STUDENTS.items() for student in students]
SIZES = {
    "transformer": {"architecture": "transformer", "layers": 1},
    "bilstm": {"architecture": "bilstm", "hidden_size": 12, "head_size": 12},
    "static": {"architecture": "static", "head_size": 12},
}


def classified(rng: random.Random) -> Row:
    label = rng.choice(tiny.SINGLE.names)
    return {"text": _sentence(rng, rng.choice(tiny.CUES[label])), "label": label}


def tagged(rng: random.Random) -> Row:
    words, tags = list(rng.choices(tiny.FILLERS, k=rng.randint(2, 8))), []
    tags = ["O"] * len(words)
    for names, kind in ((PEOPLE, "PER"), (PLACES, "LOC")):
        name = rng.choice(names).split()
        place = rng.randint(0, len(words)) if kind == "PER" else len(words)
        words[place:place] = name
        tags[place:place] = [f"B-{kind}"] + [f"I-{kind}"] * (len(name) - 1)
    return {"tokens": words, "tags": tags}


def asked(rng: random.Random) -> Row:
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    context = f"{_sentence(rng, '')} {person} lives in {place} {_sentence(rng, '')}"
    return {
        "context": context,
        "question": f"where is {person}",
        "answers": [{"text": place, "start": context.index(place)}],
    }


def scored(rng: random.Random) -> Row:
    first, second = _sentence(rng, rng.choice(PEOPLE)), _sentence(rng, rng.choice(PEOPLE))
    shared = {*first.split()} & {*second.split()}
    return {"text": first, "text_pair": second, "score": round(5 * len(shared) / len({*first.split()}), 2)}


def plain(rng: random.Random) -> Row:
    return {"text": _sentence(rng, rng.choice(PEOPLE))}


MAKERS: dict[str, Callable[[random.Random], Row]] = {
    "text-classification": classified,
    "token-classification": tagged,
    "question-answering": asked,
    "sentence-similarity": scored,
    "sentence-embedding": plain,
    "fill-mask": plain,
}


def rows(task: str, count: int, *, seed: int) -> list[Row]:
    """So many rows of a task, the same for the same seed."""
    rng = random.Random(seed)
    return [MAKERS[task](rng) for _ in range(count)]


def write_rows(path: Path, found: list[Row]) -> str:
    """Rows as JSON Lines; the path as a recipe names it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


def recipe_of(task: str, student: str, folder: Path, *, epochs: int = 2) -> Recipe:
    """A whole job on a few rows, with a teacher from scratch, or a random encoder where there are no labels."""
    counts = {"train": 96, "validation": 24, "test": 24}
    data = {name: write_rows(folder / f"{name}.jsonl", rows(task, count, seed=count)) for name, count in counts.items()}
    return Recipe.of(
        {
            "version": 1,
            "task": task,
            "data": {**data, "max_length": tiny.MAX_LENGTH},
            "teacher": _encoder(folder) if task == "sentence-embedding" else _scratch(epochs),
            "student": SIZES[student],
            "distill": {"epochs": epochs, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
            "export": {"max_accuracy_drop": 0.5},
            "benchmark": {"rounds": 1, "texts": 3, "batch_sizes": [1], "sequence_lengths": [8]},
        }
    )


def _scratch(epochs: int) -> Row:
    sizes = {"layers": 2, "hidden_size": 32, "attention_heads": 4, "vocabulary": 300}
    return {"scratch": sizes, "finetune": {"epochs": epochs, "batch_size": 16, "learning_rate": 3e-3}}


def _encoder(folder: Path) -> Row:
    made = folder / "encoder"
    if not made.is_dir():
        made.mkdir()
        labels = LabelSpace(task="sentence-embedding", names=(), problem_type="regression")
        texts = [row["text"] for row in rows("sentence-embedding", 96, seed=0)]
        sizes = ScratchModel(layers=2, hidden_size=32, attention_heads=4, vocabulary=300)
        write_scratch_model(made, sizes, inputs=texts, labels=labels, max_length=tiny.MAX_LENGTH, seed=0)
        assert auto_class(labels.task).from_pretrained(made).config.hidden_size == 32
    return {"model": str(made)}


def _sentence(rng: random.Random, cue: str) -> str:
    words = [*([cue] if cue else []), *rng.choices(tiny.FILLERS, k=rng.randint(2, 6))]
    rng.shuffle(words)
    return " ".join(words)
