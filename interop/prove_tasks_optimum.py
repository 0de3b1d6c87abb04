"""The ONNX half of every task in optimum, and `kd-deploy export --backend optimum` against the torch backend."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from optimum import onnxruntime
from proofs import GRAPHS, Line
from task_proofs import (
    CLASSES,
    FOLDER,
    Known,
    bundles,
    compare,
    labels_of,
    numbers,
    prove_pipeline,
)
from transformers import AutoTokenizer, PretrainedConfig

from kd_deploy.bundle import Bundle

BACKEND = "kd-deploy export --backend optimum"
EXPORT_FAILED = 6


def main() -> None:
    """Everything of which optimum has a part."""
    for known in bundles():
        prove_bundle(known)
    for known in bundles():
        if known.student == "transformer":
            prove_backend(known)


def prove_bundle(known: Known) -> None:
    """The task's ORTModel on a bundle as it lies there, and the pipeline that decodes what it says of tokens."""
    tokenizer = AutoTokenizer.from_pretrained(known.folder)
    for form in GRAPHS:
        model = open_graph(known, known.folder, form)
        found = numbers(model, tokenizer, known, together=False)
        compare(found, known, tool=tool_of(known), form=form, labels=labels_of(model.config, known))
        prove_pipeline(known, model, tokenizer, tool=f"{tool_of(known)} in pipeline()", form=form)
        if form == "fp32":
            found = numbers(model, tokenizer, known, together=True)
            compare(found, known, tool=f"{tool_of(known)}, padded batch", form=form)


def prove_backend(known: Known) -> None:
    """The optimum backend writes the same files as the torch backend, and its graph answers alike."""
    output = FOLDER / "optimum" / known.name
    command = [Path(sys.executable).with_name("kd-deploy"), "export", known.folder, "--backend", "optimum"]
    ended = subprocess.run(
        [*command, "--onnx", "--quantize", "--output", output], check=False, capture_output=True, text=True
    )
    if known.task == "sentence-embedding":
        prove_refusal(known, output, code=ended.returncode, told=ended.stderr)
        return
    ended.check_returncode()
    made = Bundle.open(output)
    made.verify()
    same = sorted(made.manifest.files) == sorted(Bundle.open(known.folder).manifest.files)
    detail = "the same files as the torch backend writes" if same else f"writes {sorted(made.manifest.files)}"
    Line(tool=BACKEND, bundle=known.name, form="files", result="pass" if same else "fail", detail=detail).write()
    tokenizer = AutoTokenizer.from_pretrained(output)
    for form in GRAPHS:
        found = numbers(open_graph(known, output, form), tokenizer, known, together=False)
        compare(found, known, tool=BACKEND, form=form)


def prove_refusal(known: Known, output: Path, *, code: int, told: str) -> None:
    """What optimum cannot export is refused in one sentence with a hint, and nothing is written."""
    said = [line for line in told.splitlines() if line.startswith(("error: ", "hint: "))]
    kinds = [line.split(":")[0] for line in said]
    passed = (code, kinds) == (EXPORT_FAILED, ["error", "hint"]) and "Traceback" not in told and not output.exists()
    detail = f"refused: {said[0].removeprefix('error: ')}" if said else f"exit code {code}, and no error line"
    Line(tool=BACKEND, bundle=known.name, form="files", result="pass" if passed else "fail", detail=detail).write()


def open_graph(known: Known, folder: Path, form: str) -> Any:
    """One graph of a bundle; a student that is no transformers model needs its config given."""
    named = {} if form == "fp32" else {"file_name": GRAPHS[form]}
    options = {} if known.student == "transformer" else {"config": PretrainedConfig.from_pretrained(known.folder)}
    return getattr(onnxruntime, class_of(known)).from_pretrained(folder, **named, **options)


def class_of(known: Known) -> str:
    """The class of optimum that runs the task."""
    return f"ORTModel{CLASSES[known.task] or 'ForFeatureExtraction'}"


def tool_of(known: Known) -> str:
    """How the table calls it."""
    return f"optimum {class_of(known)}" + ("" if known.student == "transformer" else " with config=")


if __name__ == "__main__":
    main()
