"""Embedding students in sentence-transformers, by its torch and its ONNX backend: encode() gives our vectors."""

from dataclasses import replace
from importlib.util import find_spec

import sentence_transformers
from proofs import GRAPHS
from sentence_transformers import SentenceTransformer
from task_proofs import Known, bundles, compare
from tokenizers import Tokenizer

VERSION = f"sentence-transformers {sentence_transformers.__version__}"


def main() -> None:
    """Every student; of a static one its torch half, which is a bag of word vectors there."""
    for known in bundles():
        if (known.task, known.student) == ("sentence-embedding", "static"):
            model = SentenceTransformer(str(known.folder))
            prove(comparable(known), model, tool=f"{VERSION} StaticEmbedding", form="torch")
        if (known.task, known.student) == ("sentence-embedding", "transformer"):
            prove(known, SentenceTransformer(str(known.folder)), tool=VERSION, form="torch")
            for form, graph in GRAPHS.items() if find_spec("optimum") else ():  # the ONNX backend is made of it
                options = {"file_name": f"onnx/{graph}", "provider": "CPUExecutionProvider"}
                model = SentenceTransformer(str(known.folder), backend="onnx", model_kwargs=options)
                prove(known, model, tool=f'{VERSION} backend="onnx"', form=form)


def comparable(known: Known) -> Known:
    """Without what is longer than the bundle takes, for a bag of word vectors cuts nothing, and texts of no token.

    Nor a text that writes [CLS] itself: there it counts, and here it does not.
    """
    tokenizer = Tokenizer.from_file(str(known.folder / "tokenizer.json"))
    around = {*tokenizer.encode("").ids}
    tokens = [tokenizer.encode(text, add_special_tokens=False).ids for text in known.inputs]
    kept = [place for place, ids in enumerate(tokens) if ids and around.isdisjoint(ids) and place not in known.cut]
    numbers = {"numbers": [known.fp32["numbers"][place] for place in kept]}
    return replace(known, inputs=[known.inputs[place] for place in kept], fp32=known.fp32 | numbers, cut=[])


def prove(known: Known, model: SentenceTransformer, *, tool: str, form: str) -> None:
    """Texts one at a time; in full precision also in one padded batch."""
    compare([model.encode(text) for text in known.inputs], known, tool=tool, form=form)
    if form != "int8":  # dynamic int8 takes its scales from the whole batch
        compare(list(model.encode(known.inputs)), known, tool=f"{tool}, batch", form=form)


if __name__ == "__main__":
    main()
