"""A small bundle of every kind of model that writes, and what kd_deploy.runtime writes with it."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from texts import HOSTILE, LONG

from kd_deploy.bundle import Bundle
from kd_deploy.pipeline.export import export_model
from kd_deploy.pipeline.train import distill, finetune
from kd_deploy.recipe import Recipe
from kd_deploy.runtime import load
from kd_deploy.tasks.encoding import Encoder
from tests.tiny_tasks import Row, write_rows
from tests.tiny_writers import DISTILL, LENGTH, NEW, PRECISIONS, SCRATCH, document, prompts, rows

KINDS = {"language-model": "gpt2", "encoder-decoder": "bart", "lstm-pair": "lstm"}
TEACHERS = {"language-model": "language-model", "encoder-decoder": "encoder-decoder", "lstm-pair": "encoder-decoder"}
ROWS = 480
EPOCHS = 8
ORDINARY = 20  # texts like those of the training
FEWEST = 8  # different answers to them: agreeing with one that is always the same would prove nothing
ENDINGS = (" .", " !", " n't", ", is it ?", "\n")  # what tidies spaces up when it decodes takes from these
FAST = {"batch_size": 16, "learning_rate": 5e-3, "warmup": 0.1}


def main(work: Path) -> None:
    """Write the bundles and expected.json into a new folder."""
    work.mkdir()
    os.environ["KD_DEPLOY_CACHE"] = str(work / "cache")
    bundles = {name: _exported(_student(name, work)) for name in KINDS}
    expected = {name: _expected(name, bundle) for name, bundle in bundles.items()}
    (work / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def _student(name: str, work: Path) -> Bundle:
    kind, data = KINDS[name], work / f"{name}-data"
    teacher = SCRATCH | {"finetune": {"epochs": EPOCHS, **FAST}}
    settings = DISTILL[kind] | {"epochs": EPOCHS, "batch_size": FAST["batch_size"], "control": False}
    recipe = Recipe.of(document(kind, data, teacher=teacher, distill=settings))
    write_rows(data / "train.jsonl", _rows(recipe.task))  # more than the recipe came with
    taught = work / f"{TEACHERS[name]}-teacher"
    if not taught.exists():
        _as_on_the_hub(finetune(recipe, taught).path)
    return distill(recipe, work / name, teacher=str(taught))


def _as_on_the_hub(folder: Path) -> None:
    # A checkpoint whose tokenizer's settings leave nearly all unsaid, as those of GPT-2 and BART do.
    (folder / "bundle.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LENGTH}), encoding="utf-8")


def _rows(task: str) -> list[Row]:
    found = rows(task, ROWS, seed=1)
    column = "text" if task == "text-generation" else "target"
    for number, row in enumerate(found):
        row[column] += ENDINGS[number % len(ENDINGS)]
    return found


def _exported(bundle: Bundle) -> Bundle:
    return export_model(
        str(bundle.path), None, precisions=PRECISIONS, opset=17, backend="torch", max_accuracy_drop=None, examples=None
    )


def _expected(name: str, bundle: Bundle) -> dict[str, Any]:
    inputs = _inputs(name, bundle)
    answers = {precision: _answers(bundle, precision, inputs) for precision in PRECISIONS}
    return {
        "kind": KINDS[name],
        "inputs": inputs,
        "ordinary": ORDINARY,
        "new_tokens": NEW,
        "cut": [number for number, length in enumerate(_lengths(bundle, inputs)) if length > LENGTH],
        "answers": answers,
    }


def _inputs(name: str, bundle: Bundle) -> list[str]:
    """Texts like those of the training, and some that are not; a language model must have room for its answer."""
    ordinary = prompts(KINDS[name], ORDINARY)
    if KINDS[name] != "gpt2":
        return [*ordinary, *HOSTILE, LONG[0]]
    odd = zip(HOSTILE, _lengths(bundle, HOSTILE), strict=True)
    return [*ordinary, *[text for text, length in odd if 0 < length <= LENGTH - NEW]]


def _lengths(bundle: Bundle, texts: Sequence[str]) -> list[int]:
    encoder = Encoder.from_file(bundle.file("tokenizer.json"), max_length=10**6, pad_id=0)
    return [len(encoder.encode(text)) for text in texts]


def _answers(bundle: Bundle, precision: str, inputs: list[str]) -> list[dict[str, Any]]:
    # One text at a time: dynamic int8 takes its scales from the whole batch.
    with load(bundle, precision=precision) as predictor:
        found = [predictor.predict([text])[0] for text in inputs]
    if len({one.text for one in found[:ORDINARY]}) < FEWEST:
        sys.exit(f"{bundle.path.name} {precision} writes nearly always the same: agreeing with it would prove nothing")
    return [{"text": one.text, "tokens": one.tokens} for one in found]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
