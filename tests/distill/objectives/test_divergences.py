"""The other distances between class distributions, by hand and where they meet one another."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives.divergences import alpha_beta, jensen_shannon, relational, skew_kl
from kd_deploy.distill.objectives.logits import reverse_kl, soft_target_kl, yes_or_no
from kd_deploy.errors import TrainingError
from tests.distill.objectives.by_hand import Array, bernoulli, kl, logits, softmax, summed


def jensen_shannon_by_hand(p: Array, q: Array, *, beta: float) -> Array:
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


def skew_kl_by_hand(p: Array, q: Array, *, skew: float) -> Array:
    return kl(p, skew * p + (1 - skew) * q)


def skew_reverse_kl_by_hand(p: Array, q: Array, *, skew: float) -> Array:
    return kl(q, (1 - skew) * p + skew * q)


def alpha_beta_by_hand(p: Array, q: Array, *, alpha: float, beta: float) -> Array:
    both = alpha + beta
    inner = p**alpha * q**beta - alpha / both * p**both - beta / both * q**both
    return -summed(inner) / (alpha * beta)


def alpha_alone_by_hand(p: Array, q: Array, *, alpha: float) -> Array:
    return summed(p**alpha * np.log(p**alpha / q**alpha) - p**alpha + q**alpha) / alpha**2


FORMULAS: dict[str, tuple[Callable[..., Tensor], Callable[[Array, Array], Array]]] = {
    **{
        f"jensen-shannon {beta}": (partial(jensen_shannon, beta=beta), partial(jensen_shannon_by_hand, beta=beta))
        for beta in (0.1, 0.5, 0.9)
    },
    **{
        f"skew kl {skew}": (partial(skew_kl, skew=skew), partial(skew_kl_by_hand, skew=skew))
        for skew in (0.1, 0.5, 0.9)
    },
    **{
        f"skew reverse kl {skew}": (
            partial(skew_kl, skew=skew, direction="reverse"),
            partial(skew_reverse_kl_by_hand, skew=skew),
        )
        for skew in (0.1, 0.5, 0.9)
    },
    **{
        f"alpha-beta {alpha}, {beta}": (
            partial(alpha_beta, alpha=alpha, beta=beta),
            partial(alpha_beta_by_hand, alpha=alpha, beta=beta),
        )
        for alpha, beta in ((0.2, 0.7), (0.7, 0.2), (0.5, 0.5), (1.0, 1.0), (1.2, 0.1), (0.01, 0.02))
    },
    **{
        f"alpha-beta {alpha}, 0": (
            partial(alpha_beta, alpha=alpha, beta=0.0),
            partial(alpha_alone_by_hand, alpha=alpha),
        )
        for alpha in (0.5, 1.0, 1.5)
    },
}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("loss", "by_hand"), FORMULAS.values(), ids=FORMULAS)
def test_it_is_its_formula(
    loss: Callable[..., Tensor], by_hand: Callable[[Array, Array], Array], temperature: float
) -> None:
    student, teacher = logits(0), logits(1)

    over_classes = loss(student, teacher, temperature=temperature)
    over_labels = loss(yes_or_no(student), yes_or_no(teacher), temperature=temperature)

    q, p = softmax(student, temperature=temperature), softmax(teacher, temperature=temperature)
    assert over_classes.item() == pytest.approx(temperature**2 * by_hand(p, q).mean(), rel=5e-4)
    q, p = bernoulli(student, temperature=temperature), bernoulli(teacher, temperature=temperature)
    assert over_labels.item() == pytest.approx(temperature**2 * by_hand(p, q).mean(), rel=5e-4)


def test_jensen_shannon_is_at_most_log_2() -> None:
    apart = torch.tensor([[200.0, 0.0], [0.0, 200.0]])

    assert_close(jensen_shannon(apart, -apart, temperature=1.0), torch.tensor(2.0).log())


def test_jensen_shannon_exchanges_the_two_with_beta() -> None:
    assert_close(jensen_shannon(logits(0), logits(1), beta=0.2), jensen_shannon(logits(1), logits(0), beta=0.8))


def test_jensen_shannon_nears_the_two_kls_at_its_ends() -> None:
    student, teacher = logits(0) / 3, logits(1) / 3

    assert_close(
        jensen_shannon(student, teacher, beta=1e-3) / 1e-3, soft_target_kl(student, teacher), rtol=0.01, atol=0
    )
    assert_close(jensen_shannon(student, teacher, beta=0.999) / 1e-3, reverse_kl(student, teacher), rtol=0.01, atol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, 1.1, float("nan")])
def test_jensen_shannon_needs_a_share_of_both(beta: float) -> None:
    with pytest.raises(TrainingError, match="beta is"):
        jensen_shannon(logits(0), logits(1), beta=beta)


def test_without_skew_it_is_the_plain_kl() -> None:
    student, teacher = logits(0), logits(1)

    assert_close(skew_kl(student, teacher, skew=0.0), soft_target_kl(student, teacher))
    assert_close(skew_kl(student, teacher, skew=0.0, direction="reverse"), reverse_kl(student, teacher))
    assert_close(skew_kl(student, teacher, skew=1e-6), soft_target_kl(student, teacher), rtol=1e-3, atol=0)


def test_a_skewed_kl_is_bounded_where_the_plain_one_is_not() -> None:
    teacher = torch.tensor([[400.0, -400.0]])

    assert soft_target_kl(-teacher, teacher, temperature=1.0).item() == pytest.approx(800)
    assert skew_kl(-teacher, teacher, temperature=1.0, skew=0.1).item() == pytest.approx(np.log(10))


@pytest.mark.parametrize("skew", [-0.1, 1.0, float("nan")])
def test_a_skew_is_a_share_below_one(skew: float) -> None:
    with pytest.raises(TrainingError, match="skew is"):
        skew_kl(logits(0), logits(1), skew=skew)


@pytest.mark.parametrize("nearly", [0.0, 1e-12, 1e-7, 1e-4])
def test_alpha_beta_ends_in_the_two_kls(nearly: float) -> None:
    student, teacher = logits(0), logits(1)

    forward = alpha_beta(student, teacher, alpha=1.0, beta=nearly)
    reverse = alpha_beta(student, teacher, alpha=nearly, beta=1.0)

    assert_close(forward, soft_target_kl(student, teacher), rtol=1e-3, atol=0)
    assert_close(reverse, reverse_kl(student, teacher), rtol=1e-3, atol=0)


def test_alpha_beta_of_one_and_one_is_half_the_squared_distance() -> None:
    p, q = softmax(logits(1)), softmax(logits(0))

    loss = alpha_beta(logits(0), logits(1), alpha=1.0, beta=1.0, temperature=1.0)

    assert loss.item() == pytest.approx(0.5 * ((p - q) ** 2).sum(axis=1).mean(), rel=1e-4)


def test_alpha_beta_exchanges_the_two_with_alpha_and_beta() -> None:
    found = alpha_beta(logits(0), logits(1), alpha=0.3, beta=0.9)

    assert_close(found, alpha_beta(logits(1), logits(0), alpha=0.9, beta=0.3))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (1e-3, 1e-3), (-0.5, 1.0), (1.0, -0.5), (float("nan"), 1.0)])
def test_alpha_beta_refuses_what_float32_cannot_hold(alpha: float, beta: float) -> None:
    with pytest.raises(TrainingError, match="alpha is"):
        alpha_beta(logits(0), logits(1), alpha=alpha, beta=beta)


def distances(p: Array, q: Array) -> Array:
    return np.array([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.0), (0.0, 3.0)])
def test_relational_is_its_formula(temperature: float, beta: float, gamma: float) -> None:
    student, teacher = logits(0), logits(1)

    loss = relational(student, teacher, temperature=temperature, beta=beta, gamma=gamma)

    p, q = softmax(teacher, temperature=temperature), softmax(student, temperature=temperature)
    by_hand = beta * distances(p, q).mean() + gamma * distances(p.T, q.T).mean()
    assert loss.item() == pytest.approx(temperature**2 * by_hand, rel=1e-4)


def test_relational_over_several_labels_compares_all_answers_of_a_row() -> None:
    p, q = bernoulli(logits(1), temperature=2), bernoulli(logits(0), temperature=2)

    loss = relational(yes_or_no(logits(0)), yes_or_no(logits(1)), temperature=2.0)

    by_hand = distances(p.reshape(6, 8), q.reshape(6, 8)).mean() + distances(p[..., 0].T, q[..., 0].T).mean()
    assert loss.item() == pytest.approx(4 * by_hand, rel=1e-4)


def test_relational_asks_for_the_pattern_and_not_for_the_numbers() -> None:
    p = logits(0).softmax(dim=-1)

    loss = relational((0.3 * p + 0.7 / 4).log(), logits(0), temperature=1.0)

    assert_close(loss, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_relational_weights_touch_the_rows_and_not_the_columns() -> None:
    student, teacher, weights = logits(0), logits(1), torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    columns = relational(student, teacher, beta=0.0)

    assert_close(relational(student, teacher, beta=0.0, weights=weights), columns)
    assert_close(
        relational(student, teacher, weights=weights), relational(student[:1], teacher[:1], gamma=0.0) + columns
    )


def test_relational_has_no_columns_in_a_batch_of_one() -> None:
    student, teacher = logits(0, rows=1), logits(1, rows=1)

    assert_close(relational(student, teacher), relational(student, teacher, gamma=0.0))


def test_relational_columns_take_the_mean_of_the_squared_temperatures() -> None:
    teacher = logits(0, rows=2)
    student, temperature = teacher.flip(0), torch.tensor([1.0, 3.0])

    p, q = (torch.softmax(values / temperature[:, None], dim=-1).double().numpy() for values in (teacher, student))
    found = relational(student, teacher, temperature=temperature, beta=0.0)
    assert found.item() == pytest.approx(5 * distances(p.T, q.T).mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (torch.zeros(3, 4), logits(0, rows=3)),
        (logits(0, rows=3), torch.zeros(3, 4)),
        (torch.zeros(3, 4), torch.zeros(3, 4)),
        (logits(0, rows=1).repeat(3, 1), logits(1, rows=3)),
        (logits(0, rows=1), logits(1, rows=1)),
    ],
    ids=["even student", "even teacher", "both even", "a student that says the same of all", "one row"],
)
def test_relational_is_finite_where_nothing_varies(student: Tensor, teacher: Tensor) -> None:
    leaf = student.clone().requires_grad_()

    loss = relational(leaf, teacher)
    loss.backward()

    assert torch.isfinite(loss)
    assert loss >= -1e-6
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_relational_rows_of_two_classes_teach_nothing() -> None:
    student, teacher = logits(0, classes=2).requires_grad_(), logits(1, classes=2)

    relational(student, teacher, gamma=0.0).backward()

    assert student.grad is not None
    assert student.grad.abs().max() < 1e-3
