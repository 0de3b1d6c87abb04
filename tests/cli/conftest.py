"""A support desk small enough to train on in seconds, and the command line as a user calls it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kd_deploy.cli import main
from kd_deploy.data import demo


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*argv: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            main([str(one) for one in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return Outcome(code, told.out, told.err)

    return call


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    demo.write(folder, demo.generate(train=400, validation=60, test=80))
    return folder


def small_recipe(desk: Path, **sections: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": 1,
        "task": "text-classification",
        "data": {split: str(desk / f"{split}.jsonl") for split in ("train", "validation", "test")} | {"max_length": 32},
        "teacher": {
            "scratch": {"layers": 2, "hidden_size": 32, "attention_heads": 2, "vocabulary": 800},
            "finetune": {"epochs": 2, "learning_rate": 2.0e-3, "batch_size": 32},
        },
        "student": {"architecture": "bilstm", "hidden_size": 16, "head_size": 16},
        "distill": {"epochs": 2, "learning_rate": 5.0e-3, "batch_size": 32},
        "export": {"max_accuracy_drop": 0.2},
        "benchmark": {"rounds": 1, "texts": 5, "batch_sizes": [1], "sequence_lengths": [16, 64]},
    }
    return document | sections


def write_recipe(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_DEPLOY_CACHE", str(cache))


@pytest.fixture(scope="session")
def ran(desk: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run through the real entry point; everything else looks at what it left."""
    folder = tmp_path_factory.mktemp("run")
    recipe = write_recipe(folder / "recipe.yaml", small_recipe(desk))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(cache))
        with pytest.raises(SystemExit) as stop:
            main(["run", str(recipe), "--output", str(folder / "out"), "--quiet"])
    assert stop.value.code == 0
    return folder / "out"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
