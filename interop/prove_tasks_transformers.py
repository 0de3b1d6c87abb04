"""The torch half of every task in plain transformers, of whatever version, and the pipelines over tokens."""

import torch
import transformers
from task_proofs import (
    CLASSES,
    bundles,
    compare,
    compare_answers,
    entities,
    fillings,
    known_entities,
    known_fillings,
    labels_of,
    numbers,
)
from transformers import AutoTokenizer, pipeline

VERSION = f"transformers {transformers.__version__}"


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
        if known.task == "token-classification":
            find = pipeline(known.task, model=model, tokenizer=tokenizer, aggregation_strategy="first")
            found = entities(find, known)
            compare_answers(found, known_entities(known, "torch"), known, tool=f"{VERSION} pipeline()", form="torch")
        elif known.task == "fill-mask":
            found = fillings(pipeline(known.task, model=model, tokenizer=tokenizer), known)
            compare_answers(found, known_fillings(known, "torch"), known, tool=f"{VERSION} pipeline()", form="torch")


if __name__ == "__main__":
    main()
