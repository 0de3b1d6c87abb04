"""Trackers: what they are told of a training, and where their files stay."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.lessons import Lesson
from kd_deploy.distill.terms import labels_alone
from kd_deploy.distill.trainer import train_together
from kd_deploy.distill.training_arguments import followed
from kd_deploy.tasks.heads import MAIN
from tests import tiny
from tests.distill.test_trainer import SETTINGS, rows_of

WRITER = """
class SummaryWriter:
    def __init__(self, log_dir):
        import pathlib
        self.file = pathlib.Path(log_dir) / "events"
        self.file.parent.mkdir(parents=True)
    def add_scalar(self, name, value, step):
        with self.file.open("a") as file:
            print(name, file=file)
    def add_text(self, *_):
        pass
    def flush(self):
        pass
    def close(self):
        pass
"""


@pytest.fixture(autouse=True)
def trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages that stand in for the trackers' own."""
    for name, code in (("tensorboard", ""), ("tensorboardX", WRITER)):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    yield
    for name in ("tensorboard", "tensorboardX"):
        sys.modules.pop(name, None)


def test_files_of_tensorboard_lie_where_they_stay(checkpoint: Path, tmp_path: Path) -> None:
    rows = rows_of(checkpoint, tiny.single_label(20, seed=0))
    settings = SETTINGS.model_copy(update={"epochs": 1, "report_to": ("tensorboard",)})

    for name in ("student", "control"):
        train_together(
            load_model(checkpoint),
            {MAIN: Lesson(objective=labels_alone(), data=rows, validation=rows)},
            settings=settings,
            work=tmp_path / "work" / name,
            logs=tmp_path / "logs" / name,
            description=name,
        )

    for name in ("student", "control"):
        assert "eval/accuracy" in (tmp_path / "logs" / name / "events").read_text().splitlines()
    assert not list((tmp_path / "work").rglob("events"))


def test_a_training_is_one_run_of_wandb_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    trainer: Any = SimpleNamespace(
        args=SimpleNamespace(report_to=["wandb"], run_name=None), callback_handler=SimpleNamespace(callbacks=[])
    )
    monkeypatch.setitem(
        sys.modules, "wandb", cast("Any", SimpleNamespace(finish=lambda: ended.append(trainer.args.run_name)))
    )

    for name in ("teacher", "student"):
        with followed(trainer, name=name, logs=None):
            assert name not in ended

    assert ended == ["teacher", "student"]
