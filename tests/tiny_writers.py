"""Rows and recipes of models that write, so small that each goes from its rows to its report in seconds."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.measurement import Benchmarked
from kd_deploy.pipeline.run import run
from kd_deploy.recipe import Recipe
from tests.report.samples import benchmarked
from tests.tiny_tasks import Row, write_rows

KINDS = ("gpt2", "bart", "lstm")
TASK = {"gpt2": "text-generation", "bart": "text2text", "lstm": "text2text"}
METRIC = {"gpt2": "perplexity", "bart": "bleu", "lstm": "bleu"}
LENGTH, NEW = 40, 16  # tokens that are read, and written at most
COUNTS = {"train": 96, "validation": 16, "test": 20}
PRECISIONS = ("fp32", "int8", "int4")
FAST = {"batch_size": 8, "learning_rate": 5e-3, "warmup": 0.1}
SCRATCH = {
    "scratch": {"layers": 2, "hidden_size": 32, "attention_heads": 2, "vocabulary": 400},
    "finetune": {"epochs": 6, **FAST},
}
STUDENT: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "transformer", "layers": 1},
    "bart": {"architecture": "transformer", "layers": 1},
    "lstm": {"architecture": "lstm", "hidden_size": 32, "dropout": 0.0},
}
DISTILL: dict[str, dict[str, Any]] = {
    "gpt2": {"epochs": 2, **FAST},
    "bart": {"epochs": 3, **FAST},
    "lstm": {"epochs": 10, **FAST, "learning_rate": 2e-2, "control": False},
}
WHO = {"the dog": "der Hund", "my cat": "meine Katze", "a girl": "ein Mädchen"}
DOES = {"sees": "sieht", "likes": "mag"}
WHAT = {"water": "Wasser", "the ball": "den Ball", "snow": "Schnee"}
WHEN = {"": "", "now": "jetzt", "in the big garden": "im großen Garten", "again and again": "immer wieder"}
PARTS = (WHO, DOES, WHAT, WHEN)


def rows(task: str, count: int, *, seed: int) -> list[Row]:
    """So many sentences, with their translations where the task has them; the same for the same seed."""
    rng = random.Random(seed)
    chosen = [[rng.choice(list(part)) for part in PARTS] for _ in range(count)]
    sources = [" ".join(one).strip() for one in chosen]
    targets = [" ".join(part[words] for part, words in zip(PARTS, one, strict=True)).strip() for one in chosen]
    if task == "text-generation":
        return [{"text": f"{one} and {other}"} for one, other in zip(sources, reversed(sources), strict=True)]
    return [{"source": one, "target": other} for one, other in zip(sources, targets, strict=True)]


def prompts(kind: str, count: int = 100) -> list[str]:
    """Texts of mixed lengths to write for, known sentences and others; of a language model beginnings."""
    rng = random.Random(7)
    words = [word for part in PARTS for phrase in part for word in phrase.split()]
    strange = [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(count // 2)]
    known = [str(row["source"]) for row in rows("text2text", count - len(strange), seed=7)]
    mixed = [one for pair in zip(known, strange, strict=True) for one in pair]
    if kind != "gpt2":
        return mixed
    return [" ".join(one.split()[: rng.randint(1, 6)]) for one in mixed]


def document(kind: str, folder: Path, **sections: Any) -> dict[str, Any]:
    """A recipe that works, as YAML holds it, with other sections in the place of some; its rows lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: rows(TASK[kind], count, seed=count + len(name)) for name, count in COUNTS.items()}
    data = {name: write_rows(folder / f"{name}.jsonl", found) for name, found in made.items()}
    return {
        "version": 1,
        "task": TASK[kind],
        "data": {**data, "max_length": LENGTH},
        "teacher": SCRATCH,
        "student": STUDENT[kind],
        "distill": DISTILL[kind],
        "export": {"precisions": list(PRECISIONS), "max_accuracy_drop": None},
        "generation": {"max_new_tokens": NEW},
        "benchmark": {"rounds": 1, "texts": 3, "batch_sizes": [1], "sequence_lengths": [8]},
        "report": {"formats": ["html", "md", "json"] if kind == "gpt2" else ["json"]},
        **sections,
    }


def home_of(kind: str, base: Path) -> Path:
    """Where a kind of model has its rows and its run, under a folder that all tests share."""
    return base / f"writer-{kind}"


def run_document(kind: str, base: Path) -> dict[str, Any]:
    """The recipe of the run: the LSTM's teacher is the one of the transformer's run, as it is."""
    teacher = {"model": str(ran("bart", base) / "teacher")} if kind == "lstm" else SCRATCH
    return document(kind, home_of(kind, base) / "rows", teacher=teacher)


def ran(kind: str, base: Path) -> Path:
    """The folder that a whole run wrote; it is made once in a session of tests."""
    output = home_of(kind, base) / "out"
    if (output / "report.json").is_file():
        return output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(base / "writer-cache"))
        patch.setattr("kd_deploy.benchmark.run.benchmark", unmeasured)
        run(Recipe.of(run_document(kind, base)), output)
    return output


def unmeasured(*_: object, **__: object) -> Benchmarked:
    """In place of a benchmark: a process for every target takes most of the time of a run."""
    return replace(benchmarked(), targets=())


def student_of(kind: str, base: Path) -> Bundle:
    """The student that the run of a kind made, with the graphs of all precisions."""
    return Bundle.open(ran(kind, base) / "student")
