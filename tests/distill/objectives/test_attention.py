"""The losses over attention and relations, by hand; what holds for every loss is in test_features."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.attention import attention_kl, attention_mse, attention_scores, relation_kl
from kd_deploy.errors import ShapeError

Array = NDArray[np.float64]

LENGTHS = (5, 2)
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]])


def states(seed: int, *, width: int = 6) -> Tensor:
    return 2 * torch.randn(2, 5, width, generator=torch.Generator().manual_seed(seed))


def scores(seed: int, *, heads: int = 3) -> Tensor:
    return 2 * torch.randn(2, heads, 5, 5, generator=torch.Generator().manual_seed(seed))


def softmax(values: Array) -> Array:
    raised = np.exp(values)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def own(values: Tensor) -> list[Array]:
    """Scores of each text's own tokens, [A, n, n]; the second text's stand at the end."""
    return [row[:, -length:, -length:].double().numpy() for row, length in zip(values, LENGTHS, strict=True)]


def kl_by_hand(student: Tensor, teacher: Tensor) -> float:
    each = []
    for s, t in zip(own(student), own(teacher), strict=True):
        p, q = softmax(t), softmax(s)
        each.append((p * np.log(p / q)).sum(axis=-1).mean())
    return float(np.mean(each))


def scores_by_hand(queries: Tensor, keys: Tensor, *, heads: int) -> Tensor:
    width = queries.shape[-1] // heads
    found = np.zeros((2, heads, 5, 5))
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        q, k = queries[..., part].double().numpy(), keys[..., part].double().numpy()
        for text in range(2):
            found[text, head] = q[text] @ k[text].T / np.sqrt(width)
    return torch.from_numpy(found)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_scores_are_their_formula(heads: int) -> None:
    found = attention_scores(states(0), states(1), heads=heads)

    assert found.dtype == torch.float32
    assert_close(found, scores_by_hand(states(0), states(1), heads=heads).float())


def test_scores_make_the_attention_of_torch() -> None:
    queries, keys, values = states(0), states(1), states(2)
    weights = attention_scores(queries, keys, heads=2).softmax(dim=-1)  # [B, A, S, S]

    def split(hidden: Tensor) -> Tensor:
        return hidden.reshape(2, 5, 2, 3).transpose(1, 2)

    theirs = torch.nn.functional.scaled_dot_product_attention(split(queries), split(keys), split(values))
    assert_close(weights @ split(values), theirs)


@pytest.mark.parametrize("heads", [0, -1, 4, 12])
def test_heads_that_do_not_divide_the_width_are_named(heads: int) -> None:
    with pytest.raises(ShapeError, match=f"{heads} heads do not divide the width 6"):
        attention_scores(states(0), states(1), heads=heads)


@pytest.mark.parametrize("keys", [states(1)[:1], states(1, width=4), states(1)[0]])
def test_queries_and_keys_of_other_shapes_are_named(keys: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"queries are \[2, 5, 6\], the keys are"):
        attention_scores(states(0), keys, heads=2)
    with pytest.raises(ShapeError, match="queries are"):
        attention_scores(keys[0], keys[0], heads=1)


def test_mse_is_its_formula() -> None:
    found = attention_mse(scores(0), scores(1), mask=MASK)

    by_hand = np.mean([((s - t) ** 2).mean() for s, t in zip(own(scores(0)), own(scores(1)), strict=True)])
    assert found.item() == pytest.approx(by_hand, rel=1e-5)


def test_kl_is_its_formula() -> None:
    found = attention_kl(scores(0), scores(1), mask=MASK)

    assert found.item() == pytest.approx(kl_by_hand(scores(0), scores(1)), rel=1e-5)


def test_kl_does_not_see_a_constant_for_each_query_and_mse_does() -> None:
    moved = scores(0) + torch.arange(5.0)[:, None]

    assert_close(attention_kl(moved, scores(0), mask=MASK), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert attention_mse(moved, scores(0), mask=MASK).item() > 1


@pytest.mark.parametrize("loss", [attention_mse, attention_kl])
def test_other_numbers_of_heads_are_named(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ShapeError, match=r"\[2, 3, 5, 5\].*\[2, 2, 5, 5\]"):
        loss(scores(0), scores(1, heads=2), mask=MASK)


@pytest.mark.parametrize(("student_width", "heads"), [(6, 3), (4, 2), (12, 6), (8, 1)])
def test_relations_are_their_formula_over_any_widths(student_width: int, heads: int) -> None:
    student, teacher = states(0, width=student_width) / 2, states(1, width=12) / 2

    found = relation_kl(student, teacher, mask=MASK, heads=heads)

    low, high = scores_by_hand(student, student, heads=heads), scores_by_hand(teacher, teacher, heads=heads)
    assert found.item() == pytest.approx(kl_by_hand(low, high), rel=1e-4)


def test_relations_see_how_tokens_relate_and_not_where_the_axes_point() -> None:
    turned = states(0).reshape(2, 5, 3, 2).flip(-1) * torch.tensor([1.0, -1.0])  # a turn by 90° within each head

    loss = relation_kl(turned.reshape(2, 5, 6), states(0), mask=MASK, heads=3)

    assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("heads", [0, 4, 6])
def test_relation_heads_that_do_not_divide_both_widths_are_named(heads: int) -> None:
    with pytest.raises(ShapeError, match=rf"{heads} relation heads .*student's width 6 and the teacher's 8"):
        relation_kl(states(0), states(1, width=8), mask=MASK, heads=heads)
