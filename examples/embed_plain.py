"""A bundle inside another program, with numpy, onnxruntime and tokenizers alone: copy `open_bundle`.

python examples/embed_plain.py runs/demo/student "where is my parcel?"
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def open_bundle(folder: Path, graph: str = "model_quantized.onnx") -> Callable[[str], dict[str, float]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    limits = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limits["model_max_length"])
    session = onnxruntime.InferenceSession(folder / "onnx" / graph, providers=["CPUExecutionProvider"])

    def answer(text: str) -> dict[str, float]:
        read = tokenizer.encode(text)
        arrays = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        inputs = {one.name: np.array([arrays[one.name]], dtype=np.int64) for one in session.get_inputs()}
        logits = session.run(["logits"], inputs)[0][0]
        powers = np.exp(logits - logits.max())
        several = config["problem_type"] == "multi_label_classification"
        scores = 1 / (1 + np.exp(-logits)) if several else powers / powers.sum()
        return {config["id2label"][str(index)]: float(score) for index, score in enumerate(scores)}

    return answer


if __name__ == "__main__":
    found = open_bundle(Path(sys.argv[1]))(sys.argv[2])
    print(max(found, key=lambda label: found[label]), found)
