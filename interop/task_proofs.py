"""What the proofs of the tasks besides text-classification share: expected answers, and a line for every comparison."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from proofs import TOLERANCES, WORK, Line, softmax
from transformers import pipeline

from kd_deploy.tasks.fill_mask import TOP

FOLDER = WORK / "tasks"
CLASSES = {
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "sentence-similarity": "ForSequenceClassification",
    "sentence-embedding": "",
    "fill-mask": "ForMaskedLM",
}  # what transformers calls the heads
TOKENS = ("token-classification", "question-answering")  # the tasks that decide something about tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A bundle and what kd_deploy.runtime answers from it: numbers and answers by precision, one for each input.

    Args:
        ordinary: So many of the inputs, the first ones, are like what the model has learned from.
        cut: Which inputs are longer than the bundle takes.
    """

    name: str
    task: str
    student: str
    labels: list[str]
    inputs: list[Any]
    ordinary: int
    cut: list[int]
    fp32: dict[str, Any]
    int8: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return FOLDER / self.name

    def given(self, form: str) -> dict[str, Any]:
        """What is known of one of its forms; torch is to answer like fp32."""
        found: dict[str, Any] = self.int8 if form == "int8" else self.fp32
        return found


def bundles() -> list[Known]:
    """All of them, as make_task_bundles.py wrote them."""
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    return [Known(name=name, **one) for name, one in expected.items()]


def probabilities(logits: NDArray[np.float32], *, task: str) -> NDArray[np.float64]:
    """What is compared of one input: of a token's classes, or of the tokens as start and as end; else the numbers.

    Of each mask it is the probabilities of the likeliest tokens, best first.
    """
    if task == "fill-mask":
        return np.sort(softmax(logits))[:, : -TOP - 1 : -1]  # [n, TOP]
    if task == "token-classification":
        return softmax(logits)  # [S, C]
    return softmax(logits.T).T if task == "question-answering" else logits.astype(np.float64)


def compare(found: Sequence[NDArray[Any]], known: Known, *, tool: str, form: str, labels: Sequence[str] = ()) -> None:
    """Hold numbers, and the names of classes where there are such, against what kd_deploy.runtime showed."""
    wanted = known.given(form)["numbers"]
    errors = [_error(one, np.asarray(other)) for one, other in zip(found, wanted, strict=True)]
    largest = float(np.max(errors))
    same_labels = not labels or list(labels) == known.labels
    passed = same_labels and largest <= TOLERANCES[form]  # false for NaN
    detail = f"{len(wanted)} inputs, largest difference {largest:.1e}" + ("" if same_labels else "; other labels")
    Line(tool=tool, bundle=known.name, form=form, result="pass" if passed else "fail", detail=detail).write()


def compare_answers(found: Sequence[Any], wanted: Sequence[Any], known: Known, *, tool: str, form: str) -> None:
    """Hold answers that are to be the same against ours; the first that differs is shown."""
    different = [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]]
    detail = f"{len(wanted)} inputs, {len(different)} answered otherwise"
    detail += "".join(f": {one}, not {other}" for one, other in different[:1])
    Line(tool=tool, bundle=known.name, form=form, result="fail" if different else "pass", detail=detail).write()


def numbers(model: Any, tokenizer: Any, known: Known, *, together: bool) -> list[NDArray[np.float64]]:
    """What any transformers-like model shows of the inputs, one at a time or in one padded batch."""
    groups = [known.inputs] if together else [[one] for one in known.inputs]
    return [one for group in groups for one in _numbers(model, tokenizer, group, task=known.task)]


def _numbers(model: Any, tokenizer: Any, inputs: Sequence[Any], *, task: str) -> Iterator[NDArray[np.float64]]:
    texts = [inputs] if isinstance(inputs[0], str) else [list(side) for side in zip(*inputs, strict=True)]
    read = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
    shown = model(**read)
    for row, mask in enumerate(read["attention_mask"].bool().numpy()):
        if task == "sentence-embedding":
            vector = shown.last_hidden_state[row].detach().numpy()[mask].mean(axis=0)
            yield (vector / np.linalg.norm(vector)).astype(np.float64)
        elif task == "question-answering":
            sides = [one[row].detach().numpy()[mask] for one in (shown.start_logits, shown.end_logits)]
            yield probabilities(np.stack(sides, axis=-1), task=task)
        else:
            logits = shown.logits[row].detach().numpy()
            of_tokens = mask if task in TOKENS else (read["input_ids"][row] == tokenizer.mask_token_id).numpy()
            yield probabilities(logits[of_tokens] if task in (*TOKENS, "fill-mask") else logits, task=task)


def prove_pipeline(known: Known, model: Any, tokenizer: Any, *, tool: str, form: str) -> None:
    """Transformers' pipelines over tokens find the same entities, answers and fillings, where the task has one."""
    ways = {
        "token-classification": (entities, known_entities, {"aggregation_strategy": "first"}),
        "question-answering": (texts, known_texts, {}),
        "fill-mask": (fillings, known_fillings, {}),
    }
    if known.task not in ways:
        return
    find, expected, options = ways[known.task]
    found = find(pipeline(known.task, model=model, tokenizer=tokenizer, **options), known, form)
    compare_answers(found, expected(known, form), known, tool=tool, form=form)


def entities(find: Any, known: Known, _form: str) -> list[list[tuple[str, int, int, float]]]:
    """What transformers' pipeline finds in every text: type, characters, and the score to three places."""
    found = [find(text) for text in known.inputs]
    return [[(one["entity_group"], one["start"], one["end"], _rounded(one["score"])) for one in row] for row in found]


def known_entities(known: Known, form: str) -> list[list[tuple[str, int, int, float]]]:
    """What kd_deploy.runtime finds in every text, in the same form."""
    found = [answer["entities"] for answer in known.given(form)["answers"]]
    return [[(one["type"], one["start"], one["end"], _rounded(one["score"])) for one in row] for row in found]


def texts(find: Any, known: Known, form: str) -> list[str]:
    """What transformers' pipeline answers to every question that kd_deploy.runtime answers."""
    asked = [pair for pair, answer in zip(known.inputs, known.given(form)["answers"], strict=True) if answer["answer"]]
    return [find(question=question, context=context)["answer"] for question, context in asked]


def known_texts(known: Known, form: str) -> list[str]:
    """The answers of kd_deploy.runtime, where it gives one."""
    return [answer["answer"] for answer in known.given(form)["answers"] if answer["answer"]]


def fillings(find: Any, known: Known, _form: str) -> list[list[list[str]]]:
    """What transformers' pipeline fills every mask of every text with, best first."""
    found = [find(text, top_k=TOP) for text in known.inputs]
    by_mask = [one if isinstance(one[0], list) else [one] for one in found]
    return [[[one["token_str"].strip() for one in place] for place in places] for places in by_mask]


def known_fillings(known: Known, form: str) -> list[list[list[str]]]:
    """What kd_deploy.runtime fills them with."""
    found = [answer["fillings"] for answer in known.given(form)["answers"]]
    return [[[one["token"] for one in place] for place in places] for places in found]


def labels_of(config: Any, known: Known) -> list[str]:
    """The names of classes that a config holds, where the task has any."""
    if known.task not in ("token-classification", "sentence-similarity"):
        return []
    return [config.id2label[index] for index in range(len(config.id2label))]


def _rounded(score: float) -> float:
    return round(float(score), 3)


def _error(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
