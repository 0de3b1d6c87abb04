"""Small bundles made from nothing, and what kd_deploy.runtime answers from them: what the proofs are held against."""

import json
import os
import sys
from pathlib import Path

from texts import PLAIN, TEXTS
from tokenizers import Tokenizer

from kd_deploy.bundle import Bundle
from kd_deploy.data import demo
from kd_deploy.pipeline.export import export_model
from kd_deploy.pipeline.train import distill, finetune
from kd_deploy.recipe import Recipe
from kd_deploy.runtime import load

PRECISIONS = ("fp32", "int8")
MAX_LENGTH = 48
STUDENTS = {
    "student": {"architecture": "transformer", "layers": 1},
    "bilstm": {"architecture": "bilstm", "hidden_size": 48, "embedding_size": 48, "head_size": 48},
}
RECIPE = {
    "version": 1,
    "task": "text-classification",
    "teacher": {
        "scratch": {"layers": 2, "hidden_size": 64, "attention_heads": 4, "vocabulary": 1000},
        "finetune": {"epochs": 6, "learning_rate": 2e-3, "batch_size": 32},
    },
    "distill": {"epochs": 8, "learning_rate": 4e-3, "batch_size": 32, "control": False},
}


def main(work: Path) -> None:
    """Write the bundles and expected.json into an empty folder."""
    os.environ["KD_DEPLOY_CACHE"] = str(work / "cache")
    demo.write(work / "data", demo.generate(train=2500, validation=80, test=12))
    splits = {name: str(work / "data" / f"{name}.jsonl") for name in ("train", "validation")}
    document = RECIPE | {"data": {"max_length": MAX_LENGTH} | splits}
    bundles = [finetune(Recipe.of(document), work / "teacher")]
    for name, student in STUDENTS.items():
        recipe = Recipe.of(document | {"student": student})
        bundles.append(distill(recipe, work / name, teacher=str(work / "teacher")))
    done = [exported(bundle) for bundle in bundles]
    expected = {
        "texts": TEXTS,
        "cut": _cut(work / "teacher" / "tokenizer.json"),
        "labels": done[0].manifest.labels,
        "probabilities": {bundle.path.name: _answers(bundle) for bundle in done},
    }
    (work / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def exported(bundle: Bundle) -> Bundle:
    """The bundle with ONNX files in every precision."""
    return export_model(
        str(bundle.path),
        None,
        precisions=PRECISIONS,
        opset=17,
        backend="torch",
        max_accuracy_drop=None,
        examples=None,
    )


def _cut(tokenizer_file: Path) -> list[int]:
    """Which texts are longer than the bundles take."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    return [index for index, text in enumerate(TEXTS) if len(tokenizer.encode(text).ids) > MAX_LENGTH]


def _answers(bundle: Bundle) -> dict[str, list[list[float]]]:
    return {precision: _probabilities(bundle, precision) for precision in PRECISIONS}


def _probabilities(bundle: Bundle, precision: str) -> list[list[float]]:
    # One text at a time: dynamic int8 takes its scales from the whole batch.
    with load(bundle, precision=precision) as predictor:
        answers = [predictor.predict([text])[0] for text in TEXTS]
    if len({answer.label for answer in answers[: len(PLAIN)]}) < len(PLAIN) // 2:
        sys.exit(f"{bundle.path.name} {precision} answers nearly all alike: agreeing with it would prove nothing")
    return [[answer.scores[name] for name in bundle.manifest.labels] for answer in answers]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
