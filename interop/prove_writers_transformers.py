"""The torch half of models that write in plain transformers, of whatever version: generate() and AutoTokenizer."""

import torch
import transformers
from transformers import AutoTokenizer
from writer_proofs import AUTO, bundles, compare, written


@torch.inference_mode()
def main() -> None:
    """Every bundle that is a transformers model, its texts alone and in one padded batch."""
    for known in bundles():
        if known.kind not in AUTO:
            continue
        auto = f"AutoModel{AUTO[known.kind]}"
        model = getattr(transformers, auto).from_pretrained(known.folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(known.folder)
        for together in (False, True):
            tool = f"transformers {transformers.__version__} {auto}" + (", padded batch" if together else "")
            compare(written(model, tokenizer, known, together=together), known, tool=tool, form="torch")


if __name__ == "__main__":
    main()
