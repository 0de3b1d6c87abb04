"""The ONNX half in optimum, and `kd-deploy export --backend optimum` against the torch backend."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from optimum.onnxruntime import ORTModelForSequenceClassification
from proofs import BUNDLES, GRAPHS, TRANSFORMERS_MODELS, WORK, Line, answers, compare, expected, names_of
from transformers import AutoTokenizer, PretrainedConfig

from kd_deploy.bundle import Bundle

TOOL = "optimum ORTModel"
BACKEND = "kd-deploy export --backend optimum"


def main() -> None:
    """Everything of which optimum has a part."""
    for bundle in BUNDLES:
        prove_bundle(bundle)
    for bundle in TRANSFORMERS_MODELS:
        prove_backend(bundle)


def prove_bundle(bundle: str) -> None:
    """ORTModelForSequenceClassification on a bundle as it lies there."""
    texts, options = expected()["texts"], {}
    if bundle not in TRANSFORMERS_MODELS:
        note_refusal(bundle)
        options = {"config": PretrainedConfig.from_pretrained(WORK / bundle)}
    tokenizer = AutoTokenizer.from_pretrained(WORK / bundle)
    for form, file_name in GRAPHS.items():
        model = open_graph(WORK / bundle, file_name, **options)
        tool = TOOL + (" with config=" if options else "")
        found = answers(model, tokenizer, texts, together=False)
        compare(found, tool=tool, bundle=bundle, form=form, labels=names_of(model.config))
        if form == "fp32":
            found = answers(model, tokenizer, texts, together=True)
            compare(found, tool=f"{tool}, padded batch", bundle=bundle, form=form, labels=names_of(model.config))


def open_graph(folder: Path, file_name: str, **options: Any) -> Any:
    """One graph of a bundle; model.onnx is what optimum takes when nothing is said."""
    named = {} if file_name == GRAPHS["fp32"] else {"file_name": file_name}
    return ORTModelForSequenceClassification.from_pretrained(folder, **named, **options)


def note_refusal(bundle: str) -> None:
    """State what keeps optimum from opening a bundle of a model_type of our own without help."""
    try:
        open_graph(WORK / bundle, GRAPHS["fp32"])
    except ValueError as error:
        detail = f"needs config=PretrainedConfig.from_pretrained(...), for: {str(error).split(' but ')[0]}"
        Line(tool=TOOL, bundle=bundle, form="fp32", result="note", detail=detail).write()


def prove_backend(bundle: str) -> None:
    """The optimum backend writes the same files as the torch backend, and its graph answers alike."""
    output = WORK / "optimum" / bundle
    command = [Path(sys.executable).with_name("kd-deploy"), "export", WORK / bundle, "--backend", "optimum"]
    subprocess.run([*command, "--onnx", "--quantize", "--output", output], check=True, stdout=subprocess.DEVNULL)
    made = Bundle.open(output)
    made.verify()
    same = sorted(made.manifest.files) == sorted(Bundle.open(WORK / bundle).manifest.files)
    detail = "the same files as the torch backend writes" if same else f"writes {sorted(made.manifest.files)}"
    Line(tool=BACKEND, bundle=bundle, form="files", result="pass" if same else "fail", detail=detail).write()
    tokenizer = AutoTokenizer.from_pretrained(output)
    for form, file_name in GRAPHS.items():
        model = open_graph(output, file_name)
        found = answers(model, tokenizer, expected()["texts"], together=False)
        compare(found, tool=BACKEND, bundle=bundle, form=form, labels=names_of(model.config))


if __name__ == "__main__":
    main()
