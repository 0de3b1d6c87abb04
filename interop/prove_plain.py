"""onnxruntime and tokenizers alone, through the function that examples/embed_plain.py offers for copying."""

import runpy
import sys
from pathlib import Path

from proofs import BUNDLES, GRAPHS, WORK, compare, expected

EXAMPLE = Path(__file__).parents[1] / "examples" / "embed_plain.py"
TOOL = "onnxruntime + tokenizers"


def main() -> None:
    """Every bundle, in both precisions."""
    open_bundle = runpy.run_path(str(EXAMPLE))["open_bundle"]
    for bundle in BUNDLES:
        for form, graph in GRAPHS.items():
            answer = open_bundle(WORK / bundle, graph)
            found = [answer(text) for text in expected()["texts"]]
            compare([list(one.values()) for one in found], tool=TOOL, bundle=bundle, form=form, labels=list(found[0]))
    if loaded := {"kd_deploy", "torch", "transformers"} & set(sys.modules):
        sys.exit(f"{EXAMPLE.name} is to need none of these, and loads: {', '.join(sorted(loaded))}")


if __name__ == "__main__":
    main()
