"""Every knob of every term of a recipe reaches the formula that it is for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.objectives import divergences, logits, structure
from kd_deploy.distill.objectives.attention import attention_kl, attention_mse, attention_scores, relation_kl
from kd_deploy.distill.objectives.features import cls_distance, hidden_distance, pooled
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.terms import Seen, build_objective
from kd_deploy.distill.terms.focus import adapted_temperature, focus_weights
from kd_deploy.recipe.objective import AnyTerm, PerExample, Structure, Term
from tests.distill.terms.test_objective import DEEP, IDS, MASK, ground, seen, terms_of

ByHand = Callable[[Seen, Tensor | None], Tensor]
Knobs = dict[str, Any]
SOME_COUNT = torch.tensor([1.0, 0.5, 0.0, 0.25])
ONE_UNKNOWN = torch.tensor([2, -1, 1, 0])
DIVERGENCES: list[tuple[Knobs, Callable[..., Tensor]]] = [
    ({"term": "soft_targets"}, logits.soft_target_kl),
    ({"term": "reverse_kl"}, logits.reverse_kl),
    ({"term": "jensen_shannon", "beta": 0.2}, partial(divergences.jensen_shannon, beta=0.2)),
    ({"term": "alpha_beta", "alpha": 0.6, "beta": 0.3}, partial(divergences.alpha_beta, alpha=0.6, beta=0.3)),
    (
        {"term": "skew_kl", "skew": 0.4, "direction": "reverse"},
        partial(divergences.skew_kl, skew=0.4, direction="reverse"),
    ),
    ({"term": "decoupled", "alpha": 0.3, "beta": 4.0}, partial(logits.decoupled, alpha=0.3, beta=4.0)),
    ({"term": "relational", "beta": 0.5, "gamma": 3.0}, partial(divergences.relational, beta=0.5, gamma=3.0)),
]


def softened(term: Knobs, divergence: Callable[..., Tensor]) -> ByHand:
    """A divergence with the knobs that all of them have."""

    def by_hand(batch: Seen, weights: Tensor | None) -> Tensor:
        low, high = batch.compared
        temperature: Any = term["temperature"]
        if term.get("adapt_temperature"):
            temperature = adapted_temperature(high, temperature=temperature, several=False)
        # A text without a label has the teacher's.
        aims = {"targets": torch.where(batch.targets < 0, high.argmax(dim=-1), batch.targets)}
        if term.get("standardise"):
            low, high = logits.standardise(low), logits.standardise(high)
        named = aims if term["term"] == "decoupled" else {}
        return divergence(low, high, temperature=temperature, weights=weights, **named)

    return by_hand


def by_layer(kind: str, pairs: Sequence[tuple[int, int]], distance: Callable[..., Tensor]) -> ByHand:
    """The mean of a distance over pairs of layers."""

    def by_hand(batch: Seen, weights: Tensor | None) -> Tensor:
        states = [(batch.student[f"{kind}.{low}"], batch.teacher[f"{kind}.{high}"]) for low, high in pairs]
        return torch.stack([distance(low, high, weights=weights) for low, high in states]).mean()

    return by_hand


def between(distance: Callable[..., Tensor], *, how: Any) -> ByHand:
    """A distance between the texts of a batch, by what the top layers say of them."""

    def by_hand(batch: Seen, _weights: Tensor | None) -> Tensor:
        low, high = (
            pooled(one["hidden." + top], MASK, how=how) for one, top in ((batch.student, "1"), (batch.teacher, "3"))
        )
        return distance(low, high)

    return by_hand


def attention(distance: Callable[..., Tensor], pair: tuple[int, int]) -> ByHand:
    def by_hand(batch: Seen, weights: Tensor | None) -> Tensor:
        low, high = (
            attention_scores(one[f"query.{layer}"], one[f"key.{layer}"], heads=2)
            for one, layer in ((batch.student, pair[0]), (batch.teacher, pair[1]))
        )
        return distance(low, high, mask=MASK, weights=weights)

    return by_hand


def cls_of(low: Tensor, high: Tensor, *, weights: Tensor | None) -> Tensor:
    return cls_distance(*(pooled(one, MASK, how="first") for one in (low, high)), weights=weights)


def relations_of(batch: Seen, weights: Tensor | None) -> Tensor:
    relate = partial(relation_kl, mask=MASK, heads=4)
    both = [by_layer(kind, [(0, 2), (1, 3)], relate)(batch, weights) for kind in ("key", "value")]
    return torch.stack(both).mean()


SOFT_CASES: list[tuple[Knobs, ByHand]] = [
    (knobs | how, softened(knobs | how, divergence))
    for knobs, divergence in DIVERGENCES
    for how in (
        {"temperature": 3.0},
        {"temperature": 3.0, "adapt_temperature": True},
        {"temperature": 1.5, "standardise": True},
    )
]
CASES: list[tuple[Knobs, ByHand]] = [
    *SOFT_CASES,
    ({"term": "logit_mse"}, lambda batch, weights: logits.logit_mse(*batch.compared, weights=weights)),
    (
        {"term": "logit_mse", "standardise": True},
        lambda batch, weights: logits.logit_mse(*map(logits.standardise, batch.compared), weights=weights),
    ),
    (
        {"term": "hidden", "layers": "last", "distance": "cosine"},
        by_layer("hidden", [(0, 2), (1, 3)], partial(hidden_distance, mask=MASK, distance="cosine")),
    ),
    (
        {"term": "hidden", "layers": [[1, 0]]},
        by_layer("hidden", [(1, 0)], partial(hidden_distance, mask=MASK, distance="mse")),
    ),
    (
        {"term": "embedding", "distance": "cosine"},
        lambda batch, weights: hidden_distance(
            batch.student["embedding"], batch.teacher["embedding"], mask=MASK, distance="cosine", weights=weights
        ),
    ),
    ({"term": "cls", "layers": "last"}, by_layer("hidden", [(0, 2), (1, 3)], cls_of)),
    ({"term": "attention_mse", "layers": [[0, 3]]}, attention(attention_mse, (0, 3))),
    ({"term": "attention_kl", "layers": [[1, 0]]}, attention(attention_kl, (1, 0))),
    ({"term": "relations", "of": ["key", "value"], "heads": 4, "layers": "last"}, relations_of),
    *(
        ({"term": name, "pooling": how}, between(distance, how=how))
        for name, distance in (
            ("distance_relations", structure.distance_relations),
            ("angle_relations", structure.angle_relations),
            ("similarity_matrix", structure.similarity_matrix),
        )
        for how in ("first", "mean")
    ),
    (
        {"term": "contrastive", "temperature": 0.3, "pooling": "first"},
        between(partial(structure.contrastive, temperature=0.3), how="first"),
    ),
]
PER_EXAMPLE = [case for case in CASES if not isinstance(terms_of(case[0])[0], Structure)]
KINDS: dict[str, type[AnyTerm]] = {
    get_args(kind.model_fields["term"].annotation)[0]: kind for kind in get_args(get_args(Term)[0])
}


def name(case: Any) -> str | None:
    return str(case) if isinstance(case, dict) else None


def loss(term: Knobs, batch: Seen) -> Tensor:
    return build_objective(terms_of(term), ground(teacher=DEEP))(batch)


@pytest.mark.parametrize(("term", "by_hand"), CASES, ids=name)
def test_its_knobs_reach_the_formula(term: Knobs, by_hand: ByHand) -> None:
    batch = seen(teacher=DEEP, targets=ONE_UNKNOWN)

    assert_close(loss(term, batch), by_hand(batch, None))


@pytest.mark.parametrize(("term", "by_hand"), PER_EXAMPLE, ids=name)
def test_how_much_the_teacher_counts_on_a_text_reaches_it(term: Knobs, by_hand: ByHand) -> None:
    batch = replace(seen(teacher=DEEP, targets=ONE_UNKNOWN), weights=SOME_COUNT)

    assert_close(loss(term, batch), by_hand(batch, SOME_COUNT))


@pytest.mark.parametrize("focus", ["sure", "unsure", "hard"])
@pytest.mark.parametrize(("term", "by_hand"), PER_EXAMPLE, ids=name)
def test_a_focus_reaches_it_and_counts_beside_the_weights(term: Knobs, by_hand: ByHand, focus: Any) -> None:
    batch = replace(seen(teacher=DEEP, targets=ONE_UNKNOWN), weights=SOME_COUNT)
    focused = focus_weights(*batch.compared, focus=focus, several=False)

    assert_close(loss(term | {"focus": focus}, batch), by_hand(batch, focused * SOME_COUNT))


@pytest.mark.parametrize("focus", ["all", "unsure"])
def test_labels_are_smoothed_and_count_where_they_are_known(focus: Any) -> None:
    batch = seen(teacher=DEEP, targets=ONE_UNKNOWN)
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0])
    if focus != "all":
        weights = weights * focus_weights(*batch.compared, focus=focus, several=False)

    by_hand = hard_label_loss(batch.student["logits"], ONE_UNKNOWN.clamp(min=0), smoothing=0.2, weights=weights)
    assert_close(loss({"term": "hard_labels", "smoothing": 0.2, "focus": focus}, batch), by_hand)


@pytest.mark.parametrize("kind", KINDS)
def test_no_knob_is_missing_here(kind: str) -> None:
    known = {"term", "weight", "focus"} if issubclass(KINDS[kind], PerExample) else {"term", "weight"}
    cases = [*(term for term, _ in CASES), {"term": "hard_labels", "smoothing": 0.2}]
    turned = {
        key
        for term in cases
        if term["term"] == kind
        for key, value in term.items()
        if key != "term" and value != KINDS[kind].model_fields[key].default
    }

    assert turned == {*KINDS[kind].model_fields} - known


def test_a_knob_that_is_turned_is_another_formula() -> None:
    batch = replace(seen(teacher=DEEP, targets=IDS), weights=SOME_COUNT)
    found = [(term, round(float(loss(term, batch)), 6)) for term, _ in SOFT_CASES]

    assert len({value for _, value in found}) == len(found), found
