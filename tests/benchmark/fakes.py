"""Answerers without a model, for this process and for the worker's."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kd_deploy.errors import BundleError, MissingExtraError
from kd_deploy.runner import Batch, Outputs


class CountingRunner:
    input_names: tuple[str, ...] = ("input_ids", "attention_mask")

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def run(self, batch: Batch) -> Outputs:
        self.batches.append(batch)
        return {"logits": np.zeros((len(batch["input_ids"]), 2), dtype=np.float32)}

    def close(self) -> None:
        pass


class CountingAnswerer:
    vocabulary_size = 50
    mask_id = None
    via = "a fake"
    batch_size = 4

    def __init__(self, *, max_length: int = 64, log: Path | None = None, name: str = "") -> None:
        self.runner = CountingRunner()
        self.max_length = max_length
        self.calls: list[list[str | tuple[str, str]]] = []
        self._log, self._name = log, name

    def predict(self, inputs: Sequence[str | tuple[str, str]]) -> list[str]:
        self.calls.append(list(inputs))
        if self._log:
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([self._name, list(inputs)]) + "\n")
        if inputs[0] == "die":
            os.write(2, b"last words\n")
            os._exit(3)
        return ["answer"] * len(inputs)


def open_fake(max_length: int = 64, log: str | None = None, logged_as: str = "") -> CountingAnswerer:
    return CountingAnswerer(max_length=max_length, log=Path(log) if log else None, name=logged_as)


class Doomed(CountingAnswerer):
    """One whose process dies with its second call."""

    def predict(self, inputs: Sequence[str | tuple[str, str]]) -> list[str]:
        return super().predict(["die"] if self.calls else inputs)


def open_doomed() -> CountingAnswerer:
    return Doomed()


def open_noisy() -> CountingAnswerer:
    print("a library says hello")  # noqa: T201
    os.write(1, b'{"error": "from C"}\n')
    assert sys.stdin.read() == ""
    return CountingAnswerer()


def open_broken() -> CountingAnswerer:
    raise BundleError("the bundle was changed", hint="make it again")


def open_without_extra() -> CountingAnswerer:
    raise MissingExtraError("a torch target", extra="distill")


def open_telling_threads(path: str) -> CountingAnswerer:
    Path(path).write_text(os.environ["OMP_NUM_THREADS"] + os.environ["MKL_NUM_THREADS"], encoding="utf-8")
    return CountingAnswerer()
