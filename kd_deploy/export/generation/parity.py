"""The graphs of a model that writes against the model; and two such models by the texts that they write."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from kd_deploy.export.generation.replay import STEPS, Graphs, at_once, in_steps
from kd_deploy.export.parity import Case, Parity, Shapes, cases
from kd_deploy.runner import parity_error
from kd_deploy.runtime.generation.search import tokens_after
from kd_deploy.tasks.encoding import Encoded
from kd_deploy.tasks.writing import Decoder, Logits

LARGEST = 2**27  # logits of one case: half a gigabyte
PROMPTS_AT_ONCE = 16


def compare_written(model: nn.Module, files: Mapping[str, Path], shapes: Shapes) -> Parity:
    """The largest difference of a model and its graphs, over batch, length and padding, and first and later steps.

    Logits, caches and states count, where they are not of padding. The model reads everything in one pass without
    a cache; the graphs go step by step, and a decoder beside an encoder first meets a past that it must ignore.

    Args:
        model: In evaluation mode.
        files: Its graphs, as `export_written` gave them, or quantised.
        shapes: The room in which inputs may lie: of prompts with what is written after them, or of sources.
    """
    worst: Case | None = None
    largest, count = -1.0, 0
    graphs = Graphs.open(files)
    try:
        for case in written_cases(shapes):
            count += 1
            error = parity_error(at_once(model, case.batch), in_steps(graphs, case.batch))
            if error > largest:
                largest, worst = error, case
    finally:
        graphs.close()
    assert worst is not None  # noqa: S101 - there are always cases
    return Parity(cases=count, max_abs_error=largest, worst=worst)


def written_cases(shapes: Shapes, *, seed: int = 0) -> Iterator[Case]:
    """The cases of any model, with tokens that are written then; the same for the same seed."""
    rng = np.random.default_rng(seed)
    room = replace(shapes, max_length=max(1, shapes.max_length - sum(STEPS)))
    for case in cases(room, seed=seed):
        ids, mask = (case.batch[name] for name in ("input_ids", "attention_mask"))
        written = rng.integers(0, shapes.vocabulary_size, size=(len(ids), sum(STEPS)))
        if ids.size * shapes.vocabulary_size <= LARGEST:
            yield Case(name=case.name, batch={"input_ids": ids, "attention_mask": mask, "written": written})


def greedy_agreement(
    left: Decoder, right: Decoder, prompts: Sequence[Encoded], *, ends: Collection[int], tokens: int
) -> float:
    """The share of prompts, or sources, after which two models write the same tokens, the likeliest each time.

    Args:
        left: One of them.
        right: The other.
        prompts: At least one.
        ends: The tokens that say that a text is over.
        tokens: How many are written at most.
    """
    same = 0
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        batch = prompts[start : start + PROMPTS_AT_ONCE]
        limits = [tokens] * len(batch)
        texts = [tokens_after(one, batch, limits=limits, ends=ends, pick=_likeliest) for one in (left, right)]
        same += sum(one == other for one, other in zip(*texts, strict=True))
    return same / len(prompts)


def _likeliest(logits: Logits, _: Sequence[int]) -> NDArray[np.int64]:
    chosen: NDArray[np.int64] = logits.argmax(axis=-1)
    return chosen
