"""What a model decides in a batch, one row of logits for each decision: about a text, about a token, among tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd_deploy.tasks.task import NO_DECISION, Level

LOW = -1e4  # far below any logit, and finite: a share of zero that a product with zero keeps at zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """The decisions of one batch: which rows of logits they are, what each aims at, and whose they are.

    `aims` [N] are class ids, UNKNOWN where nobody gave one, or numbers; or an indicator [N, C]. `owners` [N] are the
    places of their texts in the batch; None: each text has one, in order.
    """

    level: Level
    mask: Tensor
    kept: Tensor | None
    aims: Tensor
    owners: Tensor | None

    @classmethod
    def of(cls, level: Level, targets: Tensor, mask: Tensor) -> "Decisions":
        """The decisions of a batch.

        Args:
            level: What is decided.
            targets: Of texts [B] or [B, C]; of tokens [B, S], NO_DECISION where there is none; of spans [B, K].
            mask: [B, S], ones where a token is.
        """
        if level == "text":
            return cls(level=level, mask=mask, kept=None, aims=targets, owners=None)
        if level == "token":
            kept = targets != NO_DECISION  # [B, S]
            return cls(level=level, mask=mask, kept=kept, aims=targets[kept], owners=kept.nonzero()[:, 0])
        owners = torch.arange(len(targets), device=targets.device).repeat_interleave(targets.shape[1])
        return cls(level=level, mask=mask, kept=None, aims=targets.flatten(), owners=owners)

    def rows(self, logits: Tensor) -> Tensor:
        """The logits of the decisions, [N, C]: of [B, C] for texts, of [B, S, C] or already [1, N, C] for tokens.

        For spans each of the K places to find, such as the start, is one decision among the S tokens.
        """
        if self.level == "text":
            return logits
        if self.kept is not None:
            return logits[self.kept] if logits.shape[:2] == self.kept.shape else logits[0]
        among = logits.transpose(1, 2).masked_fill(self.mask[:, None] == 0, LOW)  # [B, K, S]
        return among.flatten(0, 1)


def logits_of(shown: Any) -> Tensor:
    """The logits in what a model gives: [B, C], or [B, S, C] with the places of a span side by side."""
    if getattr(shown, "start_logits", None) is not None:
        return torch.stack([shown.start_logits, shown.end_logits], dim=-1)
    logits: Tensor = shown.logits
    return logits
