"""Models that write with onnxruntime and tokenizers alone, through the functions that decode_plain.py offers."""

import sys

from decode_plain import open_language_model, open_lstm_pair
from writer_proofs import SUFFIXES, bundles, compare

OPENERS = {"gpt2": open_language_model, "lstm": open_lstm_pair}
TOOL = "onnxruntime + tokenizers"


def main() -> None:
    """The language model and the pair of LSTMs, in every precision."""
    for known in bundles():
        if known.kind not in OPENERS:
            continue
        for form, suffix in SUFFIXES.items():
            write = OPENERS[known.kind](known.folder, suffix)
            compare([write(text, known.new_tokens) for text in known.inputs], known, tool=TOOL, form=form)
    if loaded := {"kd_deploy", "torch", "transformers"} & set(sys.modules):
        sys.exit(f"decode_plain.py is to need none of these, and loads: {', '.join(sorted(loaded))}")


if __name__ == "__main__":
    main()
