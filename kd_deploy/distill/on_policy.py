"""Batches in which the student writes, for the teacher to say what should come next.

Agarwal et al. 2024, "On-policy distillation of language models", arXiv 2306.13649 (GKD). No gradient goes through
the choice of the tokens. With `share: 1` and reverse_kl it is the single-step part of MiniLLM (Gu et al. 2024,
arXiv 2306.08543), whose reward over the rest of the text is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_deploy.distill import processes
from kd_deploy.distill.learner import WRITTEN
from kd_deploy.distill.rows import before
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.generation import Generation
from kd_deploy.recipe import OnPolicy
from kd_deploy.runtime.generation.choosing import choose
from kd_deploy.runtime.generation.search import tokens_after
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.task import NO_DECISION, UNKNOWN
from kd_deploy.tasks.writing import Logits


@dataclass(slots=True, kw_only=True)
class OwnWords:
    """Turns some batches into what the student writes itself.

    The seed, the step, the place of the batch in its step and the process decide which, and what: a training that
    is taken up again at a step draws what it would have drawn.
    """

    settings: OnPolicy
    encoder: Encoder
    seed: int
    _step: int = field(default=-1, init=False)
    _place: int = field(default=0, init=False)

    def said(self, model: nn.Module, batch: Mapping[str, Any], *, step: int) -> dict[str, Any]:
        """The batch as it is, or with what the student wrote in place of what there was, without labels.

        Args:
            model: The student; its mode stays what it was.
            batch: Arrays [B, S] and `targets`.
            step: Of the training; where gradients are accumulated, the same for the batches that make it.
        """
        chance = self._chance(step)
        if chance.random() >= self.settings.share:
            return dict(batch)
        was_training = model.training
        given = self._prompts(batch) if WRITTEN not in batch else _unpadded(batch)
        room = (batch["targets"] != NO_DECISION).sum(dim=1).clamp(min=1).tolist()
        limits = room if WRITTEN in batch else [max(1, n - len(one)) for n, one in zip(room, given, strict=True)]
        texts = self._texts(model, given, limits=limits, chance=chance)
        model.train(was_training)
        torch.clear_autocast_cache()  # weights in half precision that were made without a gradient
        return self._answered(batch, texts) if WRITTEN in batch else self._continued(batch, given, texts)

    def _chance(self, step: int) -> np.random.Generator:
        self._step, self._place = step, self._place + 1 if step == self._step else 0
        return np.random.default_rng([self.seed, step, self._place, processes.rank()])

    def _texts(
        self, model: nn.Module, given: Sequence[Encoded], *, limits: Sequence[int], chance: np.random.Generator
    ) -> list[list[int]]:
        how = Generation(temperature=self.settings.temperature)
        marks = self.encoder.marks

        def pick(logits: Logits, rows: Sequence[int]) -> NDArray[np.int64]:
            none: list[Sequence[int]] = [()] * len(rows)
            return choose(logits, none, settings=how, never=marks.never, chances=[chance] * len(rows)).tokens

        device = str(next(model.parameters()).device)
        decoder = torch_decoder(model, self.encoder, device=device)
        return tokens_after(decoder, given, limits=limits, ends=marks.ends, pick=pick)

    def _prompts(self, batch: Mapping[str, Tensor]) -> list[Encoded]:
        # The first part of each text; at least one token of the rest is the student's.
        found = []
        for one in _unpadded(batch):
            size = max(1, min(round(self.settings.prompt * len(one)), len(one) - 1))
            found.append(Encoded(one.ids[:size], one.type_ids[:size]))
        return found

    def _answered(self, batch: Mapping[str, Any], texts: Sequence[Sequence[int]]) -> dict[str, Any]:
        skipped = len(self.encoder.marks.starts) - 1  # start marks that are given, not written
        said = _stacked([[NO_DECISION] * skipped + list(one) for one in texts], NO_DECISION, like=batch["targets"])
        given = before(said.cpu(), self.encoder).to(said.device)
        return {**batch, WRITTEN: given, "targets": _unlabelled(said)}

    def _continued(
        self, batch: Mapping[str, Any], given: Sequence[Encoded], texts: Sequence[Sequence[int]]
    ) -> dict[str, Any]:
        like = batch["targets"]
        # The last token that is written need not be read: nothing is decided behind it.
        read = [[*one.ids, *text[:-1]] for one, text in zip(given, texts, strict=True)]
        aims = [[NO_DECISION] * (len(one) - 1) + list(text) for one, text in zip(given, texts, strict=True)]
        mask = _stacked([[1] * len(one) for one in read], 0, like=like)
        arrays = {"input_ids": _stacked(read, self.encoder.pad_id, like=like), "attention_mask": mask}
        return {**batch, **arrays, "targets": _unlabelled(_stacked(aims, NO_DECISION, like=like))}


def _unpadded(batch: Mapping[str, Tensor]) -> list[Encoded]:
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ids = [row[mask == 1].tolist() for row, mask in rows]
    return [Encoded(one, [0] * len(one)) for one in ids]


def _stacked(rows: Sequence[Sequence[int]], fill: int, *, like: Tensor) -> Tensor:
    out = torch.full((len(rows), max(len(one) for one in rows)), fill, dtype=torch.int64)
    for place, one in enumerate(rows):
        out[place, : len(one)] = torch.tensor(one, dtype=torch.int64)
    return out.to(like.device)


def _unlabelled(said: Tensor) -> Tensor:
    return torch.where(said == NO_DECISION, NO_DECISION, UNKNOWN)
