"""What the proofs of models that write share: what is expected, and a line for every comparison."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs import WORK, Line

FOLDER = WORK / "writers"
SUFFIXES = {"fp32": "", "int8": "_quantized", "int4": "_q4"}
AUTO = {"gpt2": "ForCausalLM", "bart": "ForSeq2SeqLM"}  # what transformers calls the heads
Answer = tuple[str, list[int]]  # a text and its tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A bundle and what kd_deploy.runtime writes with it, greedily: for each precision an answer to every input.

    Args:
        kind: gpt2, bart or lstm.
        ordinary: So many of the inputs, the first ones, are like what the model has learned from.
        new_tokens: How many tokens an answer has at most.
        cut: Which inputs are longer than the bundle takes.
    """

    name: str
    kind: str
    inputs: list[str]
    ordinary: int
    new_tokens: int
    cut: list[int]
    answers: dict[str, list[dict[str, Any]]]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return FOLDER / self.name

    def wanted(self, form: str) -> list[Answer]:
        """What is to be written; torch is to write like fp32."""
        return [(one["text"], one["tokens"]) for one in self.answers["fp32" if form == "torch" else form]]


def bundles() -> list[Known]:
    """All of them, as make_writer_bundles.py wrote them."""
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    return [Known(name=name, **one) for name, one in expected.items()]


def compare(found: Sequence[Answer], known: Known, *, tool: str, form: str) -> None:
    """Hold answers against what kd_deploy.runtime wrote; the first that differs is shown."""
    wanted = known.wanted(form)
    different = [number for number, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1]]
    detail = f"{len(wanted)} texts, {len(different)} written otherwise"
    if different:
        first = different[0]
        detail += f": to {known.inputs[first]!r} {found[first]}, not {wanted[first]}"
    Line(tool=tool, bundle=known.name, form=form, result="fail" if different else "pass", detail=detail).write()


def written(model: Any, tokenizer: Any, known: Known, *, together: bool) -> list[Answer]:
    """What any transformers-like model writes greedily, one text at a time or in one padded batch."""
    groups = [known.inputs] if together else [[text] for text in known.inputs]
    return [one for group in groups for one in _written(model, tokenizer, group, known=known)]


def _written(model: Any, tokenizer: Any, texts: list[str], *, known: Known) -> Iterator[Answer]:
    read = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    rows = model.generate(**read, max_new_tokens=known.new_tokens, do_sample=False)
    # Before the answer stands the whole prompt, or the one token that the decoder begins with.
    given = read["input_ids"].shape[1] if known.kind == "gpt2" else 1
    for row in rows[:, given:].tolist():
        length = next((place for place, token in enumerate(row) if token == model.config.eos_token_id), len(row))
        yield tokenizer.decode(row[:length]), row[:length]
