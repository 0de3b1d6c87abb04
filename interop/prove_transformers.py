"""The torch half in plain transformers: AutoModelForSequenceClassification and AutoTokenizer, of whatever version."""

import torch
import transformers
from proofs import TRANSFORMERS_MODELS, WORK, answers, compare, expected, names_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer


@torch.inference_mode()
def main() -> None:
    """Every bundle that is a transformers model, its texts alone and in one padded batch."""
    texts = expected()["texts"]
    for bundle in TRANSFORMERS_MODELS:
        model = AutoModelForSequenceClassification.from_pretrained(WORK / bundle).eval()
        tokenizer = AutoTokenizer.from_pretrained(WORK / bundle)
        for together in (False, True):
            tool = f"transformers {transformers.__version__} AutoModel" + (", padded batch" if together else "")
            found = answers(model, tokenizer, texts, together=together)
            compare(found, tool=tool, bundle=bundle, form="torch", labels=names_of(model.config))


if __name__ == "__main__":
    main()
