"""Embedding students in sentence-transformers, by its torch and its ONNX backend: encode() gives our vectors."""

from importlib.util import find_spec

import sentence_transformers
from proofs import GRAPHS
from sentence_transformers import SentenceTransformer
from task_proofs import Known, bundles, compare

VERSION = f"sentence-transformers {sentence_transformers.__version__}"


def main() -> None:
    """Every student that is a transformers model; those of our own kinds have no modules.json."""
    for known in bundles():
        if (known.task, known.student) == ("sentence-embedding", "transformer"):
            prove(known, SentenceTransformer(str(known.folder)), tool=VERSION, form="torch")
            for form, graph in GRAPHS.items() if find_spec("optimum") else ():  # the ONNX backend is made of it
                options = {"file_name": f"onnx/{graph}", "provider": "CPUExecutionProvider"}
                model = SentenceTransformer(str(known.folder), backend="onnx", model_kwargs=options)
                prove(known, model, tool=f'{VERSION} backend="onnx"', form=form)


def prove(known: Known, model: SentenceTransformer, *, tool: str, form: str) -> None:
    """Texts one at a time; in full precision also in one padded batch."""
    compare([model.encode(text) for text in known.inputs], known, tool=tool, form=form)
    if form != "int8":  # dynamic int8 takes its scales from the whole batch
        compare(list(model.encode(known.inputs)), known, tool=f"{tool}, batch", form=form)


if __name__ == "__main__":
    main()
