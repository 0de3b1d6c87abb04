"""What holds for every loss over layers, attention and batches; and the distances of hidden states by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.attention import attention_kl, attention_mse, relation_kl
from kd_deploy.distill.objectives.features import cls_distance, hidden_distance, pooled
from kd_deploy.distill.objectives.structure import (
    angle_relations,
    contrastive,
    distance_relations,
    similarity_matrix,
)
from kd_deploy.errors import ShapeError

LENGTHS = (6, 3, 1, 5)
TEXTS, TOKENS = len(LENGTHS), max(LENGTHS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A loss, the shape it takes, and which keywords: `masked` is over tokens, `weighted` is a mean over examples."""

    loss: Callable[..., Tensor]
    shape: tuple[int, ...]
    masked: bool = False
    weighted: bool = False

    def __call__(self, student: Tensor, teacher: Tensor, *, weights: Tensor | None = None) -> Tensor:
        given = {"weights": weights} if self.weighted else {}
        if self.masked:
            given["mask"] = mask_of(LENGTHS)
        return self.loss(student, teacher, **given)

    def values(self, seed: int) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))


over_tokens = partial(Case, masked=True, weighted=True)
CASES = {
    "hidden mse": over_tokens(loss=hidden_distance, shape=(TEXTS, TOKENS, 4)),
    "hidden cosine": over_tokens(loss=partial(hidden_distance, distance="cosine"), shape=(TEXTS, TOKENS, 4)),
    "attention mse": over_tokens(loss=attention_mse, shape=(TEXTS, 2, TOKENS, TOKENS)),
    "attention kl": over_tokens(loss=attention_kl, shape=(TEXTS, 2, TOKENS, TOKENS)),
    "relation kl": over_tokens(loss=partial(relation_kl, heads=2), shape=(TEXTS, TOKENS, 4)),
    "cls": Case(loss=cls_distance, shape=(TEXTS, 4), weighted=True),
    "distance relations": Case(loss=distance_relations, shape=(TEXTS, 4)),
    "angle relations": Case(loss=angle_relations, shape=(TEXTS, 4)),
    "similarity matrix": Case(loss=similarity_matrix, shape=(TEXTS, 4)),
    "contrastive": Case(loss=contrastive, shape=(TEXTS, 4)),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_masked_case = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.masked], ids=[name for name in CASES if CASES[name].masked]
)
every_weighted_case = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.weighted], ids=[name for name in CASES if CASES[name].weighted]
)


def mask_of(lengths: tuple[int, ...], *, side: Literal["left", "right"] = "right", tokens: int = TOKENS) -> Tensor:
    ones = torch.tensor([[place < length for place in range(tokens)] for length in lengths]).long()
    return ones.flip(1) if side == "left" else ones


def cut(values: Tensor, length: int) -> Tensor:
    """One text's own tokens, with a batch axis: of [S, H] or of [A, S, S]."""
    return values[None, :length] if values.dim() == 2 else values[None, :, :length, :length]


def padded(values: Tensor, *, side: Literal["left", "right"], garbage: float) -> Tensor:
    """Every text cut to its own tokens and padded to two more places than the longest."""
    rows = []
    for row, length in zip(values, LENGTHS, strict=True):
        own, missing = cut(row, length)[0], TOKENS + 2 - length
        ends = (missing, 0) if side == "left" else (0, missing)
        rows.append(F.pad(own, (0, 0, *ends) if values.dim() == 3 else (*ends, *ends), value=garbage))
    return torch.stack(rows)


def grad(values: Tensor) -> Tensor:
    assert values.grad is not None
    return values.grad


@pytest.mark.parametrize("case", [CASES[name] for name in CASES if name != "contrastive"])
def test_every_loss_is_zero_at_identity(case: Case) -> None:
    assert_close(case(case.values(0), case.values(0)), torch.tensor(0.0), atol=1e-6, rtol=0)


@every_case
def test_every_loss_is_above_zero_elsewhere(case: Case) -> None:
    assert case(case.values(0), case.values(1)).item() > 0.02


@every_case
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    student, teacher = case.values(0).requires_grad_(), case.values(1).requires_grad_()

    case(student, teacher).backward()

    assert teacher.grad is None
    assert grad(student).abs().sum() > 0


@every_case
def test_a_step_down_the_gradient_comes_closer(case: Case) -> None:
    student, teacher = case.values(0).requires_grad_(), case.values(1)
    before = case(student, teacher)
    before.backward()

    assert case(student - 0.01 * grad(student), teacher) < before


@every_case
@pytest.mark.parametrize("size", [0.0, 1.0, 60.0, 1000.0])
def test_it_is_finite_in_bfloat16_and_given_in_float32(case: Case, size: float) -> None:
    student = (size * case.values(0)).bfloat16().requires_grad_()

    found = case(student, (size * case.values(1)).bfloat16())
    found.backward()

    assert found.dtype == torch.float32
    assert found.shape == ()
    assert torch.isfinite(found)
    assert torch.isfinite(grad(student)).all()


@every_case
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-5])
def test_the_gradient_is_finite_at_and_near_zero_vectors(case: Case, size: float) -> None:
    student = (size * case.values(0)).requires_grad_()

    case(student, case.values(1)).backward()

    assert torch.isfinite(grad(student)).all()
    assert grad(student).abs().max() < 1e7


@every_case
def test_autocast_rounds_nothing(case: Case) -> None:
    student, teacher = case.values(0), case.values(1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = case(student, teacher)

    assert found.dtype == torch.float32
    assert_close(found, case(student, teacher), rtol=1e-6, atol=1e-7)


@every_masked_case
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("garbage", [7.0, -1e30, float("inf"), float("nan")])
def test_it_is_the_mean_of_the_texts_on_their_own_whatever_stands_in_the_padding(
    case: Case, side: Literal["left", "right"], garbage: float
) -> None:
    low, high = case.values(0), case.values(1)
    rows = zip(low, high, LENGTHS, strict=True)
    alone = [case.loss(cut(s, n), cut(t, n), mask=torch.ones(1, n).long()) for s, t, n in rows]
    student = padded(low, side=side, garbage=garbage).requires_grad_()
    teacher = padded(high, side=side, garbage=-garbage)

    found = case.loss(student, teacher, mask=mask_of(LENGTHS, side=side, tokens=TOKENS + 2))
    found.backward()

    assert_close(found, torch.stack(alone).mean())
    places = padded(torch.ones(case.shape), side=side, garbage=0.0)
    assert torch.isfinite(grad(student)).all()
    assert grad(student)[places == 0].abs().max() == 0


@every_masked_case
def test_a_text_without_tokens_counts_as_zero(case: Case) -> None:
    student, teacher = case.values(0)[:2], case.values(1)[:2]

    found = case.loss(student, teacher, mask=mask_of((6, 0)))

    assert_close(found, case.loss(student[:1], teacher[:1], mask=mask_of((6,))) / 2)


@every_weighted_case
def test_a_weight_of_three_is_a_text_that_stands_there_three_times(case: Case) -> None:
    student, teacher, times = case.values(0), case.values(1), [3, 1, 0, 2]
    chosen = torch.repeat_interleave(torch.arange(TEXTS), torch.tensor(times))
    given = {"mask": mask_of(LENGTHS)[chosen]} if case.masked else {}

    found = case(student, teacher, weights=torch.tensor(times).float())

    assert_close(found, case.loss(student[chosen], teacher[chosen], **given))
    assert_close(case(student, teacher, weights=torch.full((TEXTS,), 0.3)), case(student, teacher))


@every_weighted_case
def test_without_any_weight_it_is_zero(case: Case) -> None:
    student = case.values(0).requires_grad_()

    found = case(student, case.values(1), weights=torch.zeros(TEXTS))
    found.backward()

    assert found.item() == 0
    assert grad(student).abs().max() == 0


@every_case
def test_shapes_that_differ_are_named(case: Case) -> None:
    student = case.values(0)

    for wrong in (student[:-1], student[0], student[None]):
        with pytest.raises(ShapeError) as refusal:
            case(student, wrong)
        assert str(list(student.shape)) in str(refusal.value)
        assert str(list(wrong.shape)) in str(refusal.value)
        with pytest.raises(ShapeError):
            case(wrong, wrong[..., None])


@every_masked_case
@pytest.mark.parametrize("wrong", [(TEXTS,), (TEXTS, TOKENS - 1), (TEXTS - 1, TOKENS), (1, TOKENS)])
def test_a_mask_that_does_not_fit_is_named(case: Case, wrong: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="mask"):
        case.loss(case.values(0), case.values(1), mask=torch.ones(wrong).long())


@every_weighted_case
@pytest.mark.parametrize("wrong", [(), (1,), (TEXTS + 1,), (TEXTS, 1)])
def test_weights_that_do_not_fit_are_named(case: Case, wrong: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="weights"):
        case(case.values(0), case.values(1), weights=torch.ones(wrong))


def test_the_distances_of_hidden_states_are_their_formulas() -> None:
    student, teacher = CASES["hidden mse"].values(0), CASES["hidden mse"].values(1)
    s, t = student.double().numpy(), teacher.double().numpy()
    squares = ((s - t) ** 2).mean(axis=-1)
    cosines = (s * t).sum(axis=-1) / np.linalg.norm(s, axis=-1) / np.linalg.norm(t, axis=-1)

    def by_hand(values: np.ndarray) -> float:
        return float(np.mean([row[:length].mean() for row, length in zip(values, LENGTHS, strict=True)]))

    mask = mask_of(LENGTHS)
    assert hidden_distance(student, teacher, mask=mask).item() == pytest.approx(by_hand(squares), rel=1e-5)
    found = hidden_distance(student, teacher, mask=mask, distance="cosine")
    assert found.item() == pytest.approx(by_hand(1 - cosines), rel=1e-5)


def test_a_zero_vector_is_half_way_by_cosine() -> None:
    found = hidden_distance(torch.zeros(1, 1, 4), torch.ones(1, 1, 4), mask=torch.ones(1, 1).long(), distance="cosine")

    assert found.item() == pytest.approx(0.5)


def test_a_long_text_counts_no_more_than_a_short_one() -> None:
    teacher = torch.zeros(2, 6, 4)
    student = teacher.clone()
    student[0], student[1, 0] = 1.0, 3.0

    assert hidden_distance(student, teacher, mask=mask_of((6, 1))).item() == pytest.approx((1 + 9) / 2)


def test_cls_is_its_formula() -> None:
    student, teacher = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, -5.0]])

    by_hand = ((0.6 - 1) ** 2 + 0.8**2 + 2**2) / 2
    assert cls_distance(student, teacher).item() == pytest.approx(by_hand)
    assert cls_distance(student, teacher, weights=torch.tensor([1.0, 0.0])).item() == pytest.approx(0.8)


@pytest.mark.parametrize("distance", ["cls", "hidden cosine"])
def test_a_distance_of_directions_does_not_see_lengths(distance: str) -> None:
    case = CASES[distance]

    assert_close(case(5 * case.values(0), case.values(1)), case(case.values(0), case.values(1)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("garbage", [7.0, float("nan")])
def test_pooling_takes_the_first_token_or_the_mean_of_all(side: Literal["left", "right"], garbage: float) -> None:
    values = CASES["hidden mse"].values(0)
    hidden, mask = padded(values, side=side, garbage=garbage), mask_of(LENGTHS, side=side, tokens=TOKENS + 2)

    means = torch.stack([row[:length].mean(dim=0) for row, length in zip(values, LENGTHS, strict=True)])
    assert_close(pooled(hidden, mask, how="first"), values[:, 0])
    assert_close(pooled(hidden, mask, how="mean"), means)


@pytest.mark.parametrize("how", ["first", "mean"])
def test_pooling_is_float32_and_passes_the_gradient_on(how: Literal["first", "mean"]) -> None:
    hidden = CASES["hidden mse"].values(0).bfloat16().requires_grad_()

    found = pooled(hidden, mask_of(LENGTHS), how=how)
    found.sum().backward()

    assert found.dtype == torch.float32
    assert grad(hidden).abs().sum() > 0


@pytest.mark.parametrize("how", ["first", "mean"])
def test_a_text_without_tokens_is_pooled_to_zeros(how: Literal["first", "mean"]) -> None:
    assert_close(pooled(torch.ones(1, 6, 4), mask_of((0,)), how=how), torch.zeros(1, 4))


def test_pooling_names_a_mask_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"mask is \[2, 6\].*\[1, 6, 4\]"):
        pooled(torch.ones(1, 6, 4), mask_of((6, 6)), how="mean")
