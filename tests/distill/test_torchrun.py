"""The command line under torchrun: two processes share the rows, and make what one process makes."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from kd_deploy.bundle import Bundle
from kd_deploy.pipeline.train import distill
from kd_deploy.recipe import Recipe
from tests import tiny

ROWS, EPOCHS, BATCH = 37, 2, 8  # 37: two steps of both processes, and five rows over
# `python -m kd_deploy`, which also writes down what each process reads and what it asks the teacher.
WATCHED = """
import os, runpy, sys
from pathlib import Path
from kd_deploy.distill import rows, signals

folder, rank = Path(sys.argv.pop(1)), os.environ["RANK"]
item, compute = rows.Rows.__getitem__, signals._compute

def note(kind, value):
    with (folder / f"{kind}-{rank}").open("a") as stream:
        stream.write(f"{value}\\n")

def read(self, row):
    note("rows", row)
    return item(self, row)

def ask(teacher, encoder, texts, *rest, **named):
    note("asked", len(texts))
    return compute(teacher, encoder, texts, *rest, **named)

rows.Rows.__getitem__, signals._compute = read, ask
runpy.run_module("kd_deploy", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What two processes left behind."""

    done: "subprocess.CompletedProcess[str]"
    folder: Path
    recipe: dict[str, Any]

    def noted(self, kind: str, *, rank: int) -> list[int]:
        path = self.folder / f"{kind}-{rank}"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


def write_rows(path: Path, count: int, *, seed: int) -> str:
    data = tiny.single_label(count, seed=seed)
    pairs = zip(data.inputs, data.targets, strict=True)
    lines = [json.dumps({"text": text, "label": tiny.SINGLE.names[target]}) + "\n" for text, (target,) in pairs]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def recipe_in(folder: Path) -> dict[str, Any]:
    """A recipe whose files lie in the folder."""
    teacher = tiny.write_checkpoint(folder / "teacher", tiny.single_label(64, seed=0), trained=False)
    return {
        "version": 1,
        "task": "text-classification",
        "data": {
            "train": write_rows(folder / "train.jsonl", ROWS, seed=1),
            "validation": write_rows(folder / "validation.jsonl", 20, seed=2),
            "max_length": tiny.MAX_LENGTH,
        },
        "teacher": {"model": str(teacher)},
        "student": {"architecture": "bilstm", "hidden_size": 8, "head_size": 8, "dropout": 0.0},
        "distill": {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 1e-3, "control": False},
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("torchrun")
    return distilled_in_two(folder, recipe_in(folder))


def distilled_in_two(folder: Path, recipe: dict[str, Any]) -> Ran:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (folder / "watched.py").write_text(WATCHED, encoding="utf-8")
    done = in_two(folder, "watched.py", str(folder), "distill", "recipe.yaml", "--output", "student")
    return Ran(done=done, folder=folder, recipe=recipe)


def in_two(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """What two processes of a launcher come to."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    place = {"KD_DEPLOY_CACHE": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
    # What torch's own code has to say would run into the lines that are counted.
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return subprocess.run(
        [*launcher, *command],
        cwd=folder,
        env=os.environ | place | quiet,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


AGREED = """
from pathlib import Path

from kd_deploy.distill import processes
from kd_deploy.errors import UsageError

processes.join()
with processes.first_ahead():
    pass
processes.require_alike(3, what="the answers")
told = [str(processes.agreed(processes.is_first()))]
try:
    processes.require_alike(3 - processes.rank(), what="the answers")
except UsageError as error:
    told.append(str(error))
Path(f"told-{processes.rank()}").write_text("\\n".join(told))
processes.wait()
"""


def test_what_the_first_process_says_holds_for_all(tmp_path: Path) -> None:
    (tmp_path / "agreed.py").write_text(AGREED, encoding="utf-8")

    done = in_two(tmp_path, "agreed.py")

    assert done.returncode == 0, done.stderr
    # Files of their own: what two processes print into one pipe runs together.
    assert [(tmp_path / f"told-{rank}").read_text().splitlines() for rank in (0, 1)] == [
        ["True"],
        ["True", "process 1 does not find all of the answers that the first one has kept"],
    ]


def test_two_processes_write_one_whole_bundle(ran: Ran) -> None:
    assert ran.done.returncode == 0, ran.done.stderr
    assert Bundle.open(ran.folder / "student").manifest.architecture == "bilstm"
    left = {path.name for path in ran.folder.iterdir() if "student" in path.name}
    assert left == {"student"}


def test_the_first_process_alone_speaks(ran: Ran) -> None:
    assert ran.done.stdout.splitlines()[0].endswith("student")
    assert len(ran.done.stdout.splitlines()) == 2
    told = [line for line in ran.done.stderr.splitlines() if line.startswith("student: ")]
    assert sum("validation accuracy" in line for line in told) == EPOCHS + 1
    assert ran.done.stderr.count("the teacher's validation accuracy") == 1


def test_the_teacher_is_asked_about_each_text_once(ran: Ran) -> None:
    (record,) = Bundle.open(ran.folder / "student").manifest.training

    assert ran.noted("asked", rank=0) == [record.computed]
    assert ran.noted("asked", rank=1) == []


def test_each_row_is_seen_once_an_epoch(ran: Ran) -> None:
    first, second = ran.noted("rows", rank=0), ran.noted("rows", rank=1)

    assert Counter(first + second) == dict.fromkeys(range(ROWS), EPOCHS)
    assert len(first) - len(second) in range(EPOCHS + 1)


def test_two_processes_make_the_model_that_one_makes_of_batches_twice_as_large(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_DEPLOY_CACHE", str(ran.folder / "cache"))
    settings = ran.recipe["distill"] | {"batch_size": 2 * BATCH}

    alone = distill(Recipe.of(ran.recipe | {"distill": settings}), tmp_path / "alone")

    others = load_file(ran.folder / "student" / "model.safetensors")
    for name, value in load_file(alone.path / "model.safetensors").items():
        assert_close(value, others[name], atol=1e-5, rtol=0)
    assert not torch.equal(others["head.weight"], torch.zeros_like(others["head.weight"]))


def test_layers_made_texts_and_questions_are_shared_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = {"batch_size": BATCH, "learning_rate": 1e-3, "control": False, "epochs": 1}
    soft, layers = {"term": "soft_targets"}, {"term": "hidden", "layers": "top"}
    stages = [
        alike | {"objective": [soft, layers], "augment": {"copies": 1}},
        alike | {"objective": [soft], "active": {"budget": 12, "rounds": 2}},
    ]
    ran = distilled_in_two(tmp_path, recipe_in(tmp_path) | {"distill": stages})

    assert ran.done.returncode == 0, ran.done.stderr
    assert ran.noted("asked", rank=1) == []
    monkeypatch.setenv("KD_DEPLOY_CACHE", str(tmp_path / "other"))
    alone = distill(Recipe.of(ran.recipe), tmp_path / "alone")
    # As many texts and questions as one process has; which ones are asked about may change with the steps.
    made, wanted = (one.manifest.training for one in (Bundle.open(tmp_path / "student"), alone))
    assert made[0] == wanted[0]
    assert [(one.labelled, one.asked, [told.asked for told in one.rounds]) for one in made] == [
        (one.labelled, one.asked, [told.asked for told in one.rounds]) for one in wanted
    ]
