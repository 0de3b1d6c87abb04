"""The torch half of every task in plain transformers, of whatever version, and the pipelines over tokens."""

import torch
import transformers
from task_proofs import CLASSES, bundles, compare, labels_of, numbers, prove_pipeline
from transformers import AutoTokenizer

VERSION = f"transformers {transformers.__version__}"
PIPELINES = ("token-classification", "fill-mask")  # transformers 5 has none for questions


@torch.inference_mode()
def main() -> None:
    """Every bundle that is a transformers model, its inputs alone and in one padded batch."""
    for known in bundles():
        if known.student != "transformer":
            continue
        auto = f"AutoModel{CLASSES[known.task]}"
        model = getattr(transformers, auto).from_pretrained(known.folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(known.folder)
        for together in (False, True):
            tool = f"{VERSION} {auto}" + (", padded batch" if together else "")
            found = numbers(model, tokenizer, known, together=together)
            compare(found, known, tool=tool, form="torch", labels=labels_of(model.config, known))
        if known.task in PIPELINES:
            prove_pipeline(known, model, tokenizer, tool=f"{VERSION} pipeline()", form="torch")


if __name__ == "__main__":
    main()
