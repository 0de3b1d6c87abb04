"""Which rows of logits are decisions: of texts, of tokens, among tokens."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.decisions import LOW, Decisions, logits_of
from kd_deploy.tasks.task import NO_DECISION, UNKNOWN

NONE = NO_DECISION
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
TAGS = torch.tensor([[NONE, 2, UNKNOWN, NONE], [NONE, 1, NONE, NONE]])
SPANS = torch.tensor([[1, 2], [0, UNKNOWN]])  # where each answer starts and ends


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def longer(values: Tensor, *, by: int, filled: float) -> Tensor:
    """The same with more tokens on the right, [B, S + by, ...]."""
    return torch.cat([values, torch.full((len(values), by, *values.shape[2:]), filled, dtype=values.dtype)], dim=1)


@pytest.mark.parametrize("targets", [torch.tensor([1, UNKNOWN]), torch.tensor([0.5, 2.0]), torch.eye(2)])
def test_a_text_is_one_decision(targets: Tensor) -> None:
    logits = drawn(2, 3)

    found = Decisions.of("text", targets, MASK)

    assert_close(found.rows(logits), logits)
    assert_close(found.aims, targets)
    assert found.owners is None
    assert found.kept is None


def test_each_token_with_an_aim_is_a_decision_also_one_that_nobody_knows() -> None:
    logits = drawn(2, 4, 3)

    found = Decisions.of("token", TAGS, MASK)

    assert_close(found.rows(logits), torch.stack([logits[0, 1], logits[0, 2], logits[1, 1]]))
    assert found.aims.tolist() == [2, UNKNOWN, 1]
    assert found.owners is not None
    assert found.owners.tolist() == [0, 0, 1]


def test_logits_of_these_tokens_alone_are_the_rows_already() -> None:
    logits = drawn(2, 4, 3)
    found = Decisions.of("token", TAGS, MASK)
    assert found.kept is not None

    assert_close(found.rows(logits[found.kept][None]), found.rows(logits))


def test_tokens_without_any_aim_are_no_decisions() -> None:
    found = Decisions.of("token", torch.full((2, 4), NONE), MASK)

    assert found.rows(drawn(2, 4, 3)).shape == (0, 3)
    assert found.rows(drawn(1, 0, 3)).shape == (0, 3)
    assert len(found.aims) == 0


def test_the_start_and_the_end_of_a_span_are_a_decision_each() -> None:
    logits = drawn(2, 4, 2)

    found = Decisions.of("span", SPANS, MASK)

    kept = logits.clone()
    kept[1, 3] = LOW  # padding
    assert_close(found.rows(logits), torch.stack([kept[0, :, 0], kept[0, :, 1], kept[1, :, 0], kept[1, :, 1]]))
    assert found.aims.tolist() == [1, 2, 0, UNKNOWN]
    assert found.owners is not None
    assert found.owners.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("filled", [0.0, 50.0, -3.0])
def test_padding_changes_nothing_about_tokens(filled: float) -> None:
    logits = drawn(2, 4, 3)

    found = Decisions.of("token", longer(TAGS, by=3, filled=NONE), longer(MASK, by=3, filled=0))
    alone = Decisions.of("token", TAGS, MASK)

    assert_close(found.rows(longer(logits, by=3, filled=filled)), alone.rows(logits))
    assert_close(found.aims, alone.aims)
    assert_close(found.owners, alone.owners)


@pytest.mark.parametrize("filled", [0.0, 50.0, -3.0])
def test_padding_has_no_share_of_a_span(filled: float) -> None:
    logits = drawn(2, 4, 2)

    padded = Decisions.of("span", SPANS, longer(MASK, by=3, filled=0)).rows(longer(logits, by=3, filled=filled))
    alone = Decisions.of("span", SPANS, MASK).rows(logits)

    shares = padded.softmax(dim=1)
    assert_close(shares[:, :4], alone.softmax(dim=1))
    assert shares[:, 4:].max() == 0
    assert shares[2:, 3].max() == 0


def test_gradients_reach_the_decisions_of_tokens_alone() -> None:
    logits = drawn(2, 4, 3).requires_grad_()
    found = Decisions.of("token", TAGS, MASK)

    found.rows(logits).square().sum().backward()

    assert_close(logits.grad, torch.where((TAGS != NONE)[..., None], 2 * logits.detach(), torch.tensor(0.0)))


def test_gradients_reach_no_padding_of_spans() -> None:
    logits = drawn(2, 4, 2).requires_grad_()

    shares = Decisions.of("span", SPANS, MASK).rows(logits).log_softmax(dim=1)
    shares[torch.arange(4), torch.tensor([1, 2, 0, 2])].sum().backward()

    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert_close(logits.grad.any(dim=-1), MASK.bool())


def test_logits_of_a_span_stand_side_by_side() -> None:
    start, end = drawn(2, 4), drawn(2, 4) + 1

    found = logits_of(SimpleNamespace(start_logits=start, end_logits=end))

    assert found.shape == (2, 4, 2)
    assert_close(found[..., 0], start)
    assert_close(found[..., 1], end)
    assert_close(logits_of(SimpleNamespace(logits=start)), start)
