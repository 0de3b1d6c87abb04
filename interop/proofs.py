"""What the Python proofs share: the expected answers, and a line of the table for every comparison."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORK = Path(__file__).parent / ".work"
RESULTS = WORK / "results.jsonl"
BUNDLES = ("teacher", "student", "bilstm")
TRANSFORMERS_MODELS = ("teacher", "student")
GRAPHS = {"fp32": "model.onnx", "int8": "model_quantized.onnx"}
TOLERANCES = {"torch": 1e-4, "fp32": 1e-4, "int8": 1e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table.

    Args:
        result: pass, fail, or note: a limit of the other tool that is stated and fails nothing.
    """

    tool: str
    bundle: str
    form: str
    result: str
    detail: str

    def write(self) -> None:
        """Append it to the results."""
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def expected() -> dict[str, Any]:
    """Texts, labels and probabilities, as make_bundles.py wrote them."""
    found: dict[str, Any] = json.loads((WORK / "expected.json").read_text(encoding="utf-8"))
    return found


def compare(
    found: Sequence[Sequence[float]] | NDArray[Any], *, tool: str, bundle: str, form: str, labels: Sequence[str]
) -> None:
    """Hold probabilities [N, C] and label names against what kd_deploy.runtime answered."""
    known = expected()
    wanted = known["probabilities"][bundle]["fp32" if form == "torch" else form]
    error = float(np.abs(np.asarray(found, dtype=np.float64) - np.asarray(wanted)).max())
    same_labels = list(labels) == known["labels"]
    passed = same_labels and error <= TOLERANCES[form]  # false for NaN
    detail = f"{len(wanted)} texts, largest difference {error:.1e}" + ("" if same_labels else "; other labels")
    Line(tool=tool, bundle=bundle, form=form, result="pass" if passed else "fail", detail=detail).write()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities [N, C] of logits."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def answers(model: Any, tokenizer: Any, texts: Sequence[str], *, together: bool) -> NDArray[np.float64]:
    """Probabilities [N, C] as any transformers-like model gives them, one text at a time or in one padded batch."""
    groups = [list(texts)] if together else [[text] for text in texts]
    logits = [
        model(**tokenizer(group, padding=True, truncation=True, return_tensors="pt")).logits.detach().numpy()
        for group in groups
    ]
    return softmax(np.concatenate(logits))


def names_of(config: Any) -> list[str]:
    """Label names in the order of the logits."""
    return [config.id2label[index] for index in range(len(config.id2label))]
