"""The weighted sum, and terms fitted to two models: what they compare, what they learn, what they refuse."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from kd_deploy.distill.decisions import LOW
from kd_deploy.distill.objectives.labels import hard_label_loss
from kd_deploy.distill.objectives.logits import logit_mse, soft_target_kl, yes_or_no
from kd_deploy.distill.observe import Shape
from kd_deploy.distill.terms import Ground, Seen, Term, build_objective, labels_alone
from kd_deploy.distill.terms.focus import adapted_temperature, focus_weights, normalised_entropy
from kd_deploy.distill.terms.term import scheduled
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Distill
from kd_deploy.recipe.section import Schedule

STUDENT = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [1.0, 1.5, 0.0], [-1.0, 0.0, 0.3]])
TEACHER = torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, -1.0], [0.5, 2.0, 0.0], [0.0, 0.0, 1.0]])
IDS = torch.tensor([2, 1, 1, 0])
INDICATOR = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
NARROW = Shape(name="narrow", depth=2, width=8, embedding_width=8, heads=2, first_token=True)
WIDE = Shape(name="wide", depth=4, width=12, embedding_width=12, heads=2, first_token=True)
DEEP = replace(NARROW, name="deep", depth=4)  # as wide as the student, as cls asks for
LSTM = Shape(name="Bilstm", depth=1, width=6, embedding_width=5, heads=None)
BAG = Shape(name="Static", depth=0, width=0, embedding_width=5, heads=None)

# Every term of the recipe, in a form that fits a narrow student and a wide teacher.
LOGIT_TERMS = [
    {"term": name}
    for name in ("soft_targets", "reverse_kl", "jensen_shannon", "alpha_beta", "skew_kl", "decoupled", "relational")
] + [{"term": "logit_mse"}, {"term": "soft_targets", "standardise": True, "adapt_temperature": True}]
INNER_TERMS = [
    {"term": "hidden"},
    {"term": "hidden", "distance": "cosine", "layers": "last"},
    {"term": "hidden", "layers": [[0, 0], [1, 3]]},
    {"term": "hidden", "layers": "auto"},
    {"term": "embedding"},
    {"term": "cls"},
    {"term": "attention_mse"},
    {"term": "attention_kl", "layers": "uniform"},
    {"term": "relations"},
    {"term": "relations", "of": ["value"], "heads": 4},
    {"term": "distance_relations"},
    {"term": "angle_relations", "pooling": "first"},
    {"term": "similarity_matrix"},
    {"term": "contrastive"},
]
ALL_TERMS = [*LOGIT_TERMS, {"term": "hard_labels", "smoothing": 0.1}, *INNER_TERMS]


def terms_of(*terms: dict[str, Any]) -> Sequence[Any]:
    return Distill.model_validate({"objective": terms}).objective


def ground(student: Shape = NARROW, teacher: Shape = WIDE, **more: Any) -> Ground:
    return Ground(student=student, teacher=teacher, classes=3, **more)


def signal(shape: Shape, logits: Tensor, *, seed: int, tokens: int = 4) -> dict[str, Tensor]:
    """All that a model of this shape could show of four texts."""
    generator = torch.Generator().manual_seed(seed)
    made = {"logits": logits, "embedding": torch.randn(4, tokens, shape.embedding_width, generator=generator)}
    for layer in range(shape.depth):
        for kind in ("hidden", "query", "key", "value"):
            made[f"{kind}.{layer}"] = torch.randn(4, tokens, shape.width, generator=generator)
    return made


def teacher_of(term: dict[str, Any]) -> Shape:
    """A teacher that the term fits to."""
    return DEEP if term["term"] == "cls" else WIDE


def seen(student: Shape = NARROW, teacher: Shape = WIDE, *, targets: Tensor = IDS, share: float = 0.0) -> Seen:
    low, high = signal(student, STUDENT.clone(), seed=0), signal(teacher, TEACHER.clone(), seed=1)
    return Seen(student=low, teacher=high, mask=MASK, targets=targets, share=share)


def test_it_is_the_weighted_sum_of_its_terms() -> None:
    objective = build_objective(
        terms_of(
            {"term": "soft_targets", "weight": 0.7, "temperature": 3.0},
            {"term": "hard_labels", "weight": 0.2},
            {"term": "logit_mse", "weight": 0.1},
        ),
        ground(),
    )

    soft = soft_target_kl(STUDENT, TEACHER, temperature=3.0)
    by_hand = 0.7 * soft + 0.2 * hard_label_loss(STUDENT, IDS) + 0.1 * logit_mse(STUDENT, TEACHER)
    assert_close(objective(seen()), by_hand)
    assert objective.teacher_names == ("logits",)
    assert objective.student_names == ()


def test_several_labels_are_questions_of_their_own() -> None:
    objective = build_objective(terms_of({"term": "soft_targets", "temperature": 3.0}), ground(several=True))

    by_hand = soft_target_kl(yes_or_no(STUDENT), yes_or_no(TEACHER), temperature=3.0)
    assert_close(objective(seen(targets=INDICATOR)), by_hand)


def test_labels_alone_need_no_teacher() -> None:
    alone = labels_alone()

    assert alone.teacher_names == ()
    assert_close(alone(seen()), hard_label_loss(STUDENT, IDS))


@pytest.mark.parametrize("term", ALL_TERMS, ids=str)
def test_every_term_looks_where_it_says_and_teaches_the_student_alone(term: dict[str, Any]) -> None:
    objective = build_objective(terms_of(term), ground(teacher=teacher_of(term)))
    batch = seen(teacher=teacher_of(term))
    low = {name: value.requires_grad_() for name, value in batch.student.items()}
    high = {name: value.requires_grad_() for name, value in batch.teacher.items()}
    looks_at = {"logits", *objective.student_names}

    loss = objective(
        Seen(
            student={name: low[name] for name in looks_at},
            teacher={name: high[name] for name in objective.teacher_names},
            mask=MASK,
            targets=IDS,
        )
    )
    loss.backward()

    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in low.values())
    assert all(value.grad is None for value in high.values())
    assert all(parameter.grad is not None for parameter in objective.parameters())


@pytest.mark.parametrize("term", ALL_TERMS, ids=str)
def test_every_term_is_finite_in_bfloat16_under_autocast(term: dict[str, Any]) -> None:
    teacher = teacher_of(term)
    objective, batch = build_objective(terms_of(term), ground(teacher=teacher)), seen(teacher=teacher)
    low = {name: value.bfloat16() for name, value in batch.student.items()}
    high = {name: value.half() for name, value in batch.teacher.items()}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(Seen(student=low, teacher=high, mask=MASK, targets=IDS))

    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert_close(loss, objective(batch), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("term", ALL_TERMS, ids=str)
def test_padding_changes_no_term(term: dict[str, Any]) -> None:
    teacher = teacher_of(term)
    objective, batch = build_objective(terms_of(term), ground(teacher=teacher)), seen(teacher=teacher)

    def longer(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value if name == "logits" else torch.cat([value, torch.full_like(value[:, :2], 7.0)], dim=1)
            for name, value in values.items()
        }

    padded = Seen(
        student=longer(dict(batch.student)),
        teacher=longer(dict(batch.teacher)),
        mask=torch.cat([MASK, torch.zeros(4, 2, dtype=torch.int64)], dim=1),
        targets=IDS,
    )

    assert_close(objective(padded), objective(batch))


@pytest.mark.parametrize(
    "term", [one for one in ALL_TERMS if one["term"] not in ("hard_labels", "contrastive")], ids=str
)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(term: dict[str, Any]) -> None:
    if term.get("layers") == [[0, 0], [1, 3]]:
        term = term | {"layers": [[0, 0], [3, 3]]}
    objective = build_objective(terms_of(term), ground(student=WIDE))
    same = signal(WIDE, TEACHER, seed=1)

    loss = objective(Seen(student=same, teacher=same, mask=MASK, targets=IDS))

    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_equal_widths_need_no_projection() -> None:
    assert not list(build_objective(terms_of({"term": "hidden"}), ground(student=WIDE)).parameters())
    assert [tuple(p.shape) for p in build_objective(terms_of({"term": "hidden"}), ground()).parameters()] == [
        (12, 8)
    ] * 2


@pytest.mark.parametrize(
    ("term", "student", "message"),
    [
        ({"term": "attention_mse"}, LSTM, "term attention_mse reads attention, and that of a Bilstm cannot be read"),
        ({"term": "relations"}, LSTM, "term relations reads attention"),
        ({"term": "cls"}, LSTM, "needs a first token that stands for the text, and a Bilstm has none"),
        ({"term": "hidden"}, BAG, "compares layers, and a Static has none"),
        ({"term": "similarity_matrix"}, BAG, "compares layers, and a Static has none"),
        ({"term": "hidden", "layers": [[2, 0]]}, NARROW, "2"),
        ({"term": "hidden", "layers": [[0, 4]]}, NARROW, "4"),
        ({"term": "cls"}, NARROW, "needs equal widths: the student's is 8, the teacher's 12"),
        ({"term": "relations", "heads": 3}, NARROW, "cannot share the student's width 8 among 3 relation heads"),
        ({"term": "attention_kl"}, Shape(name="odd", depth=2, width=8, embedding_width=8, heads=4), "as many heads"),
        ({"term": "hidden"}, Shape(name="deep", depth=5, width=8, embedding_width=8, heads=2), "5"),
    ],
    ids=str,
)
def test_a_term_that_does_not_fit_is_named_with_what_would(term: dict[str, Any], student: Shape, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        build_objective(terms_of(term), ground(student=student))
    assert caught.value.hint


def test_relation_heads_left_out_divide_both_widths() -> None:
    three_headed = Shape(name="odd", depth=4, width=12, embedding_width=12, heads=3)

    left_out, two = (
        build_objective(terms_of({"term": "relations", "layers": "top"} | knobs), ground(teacher=three_headed))
        for knobs in ({}, {"heads": 2})
    )

    assert_close(left_out(seen(teacher=three_headed)), two(seen(teacher=three_headed)))


def test_other_tokens_allow_terms_over_logits_alone() -> None:
    apart = ground(same_tokens=False)

    build_objective(terms_of({"term": "soft_targets"}, {"term": "logit_mse"}), apart)
    with pytest.raises(RecipeError, match="term hidden compares token by token") as caught:
        build_objective(terms_of({"term": "hidden"}), apart)
    assert caught.value.hint.startswith(
        "set student.vocabulary to full (to auto, where no texts are made), or use a term over"
    )


def test_a_teacher_without_a_first_token_is_named() -> None:
    of_one_width = replace(LSTM, width=NARROW.width)

    with pytest.raises(RecipeError, match="and a Bilstm has none"):
        build_objective(terms_of({"term": "cls"}), ground(teacher=of_one_width))


@pytest.mark.parametrize("several", [True, False])
def test_z_scores_of_two_classes_are_refused(several: bool) -> None:
    two = Ground(student=NARROW, teacher=WIDE, several=several, classes=2)

    with pytest.raises(RecipeError, match="has standardise"):
        build_objective(terms_of({"term": "logit_mse", "standardise": True}), two)


def test_decoupled_without_its_only_part_is_refused() -> None:
    two = Ground(student=NARROW, teacher=WIDE, classes=2)

    with pytest.raises(RecipeError, match="decoupled has alpha 0, and of two classes there is none beside"):
        build_objective(terms_of({"term": "decoupled", "alpha": 0}), two)
    build_objective(terms_of({"term": "decoupled", "alpha": 0}), ground())


def test_decoupled_needs_one_label() -> None:
    with pytest.raises(RecipeError, match="decoupled needs one label"):
        build_objective(terms_of({"term": "decoupled"}), ground(several=True))


@pytest.mark.parametrize(
    ("shape", "share", "expected"),
    [("linear", 0.0, 2.0), ("linear", 0.25, 3.0), ("linear", 1.0, 6.0), ("cosine", 0.5, 4.0), ("cosine", 0.25, 2.5858)],
)
def test_a_schedule_goes_from_start_to_end(shape: Any, share: float, expected: float) -> None:
    assert scheduled(Schedule(start=2.0, end=6.0, shape=shape), share) == pytest.approx(expected, abs=1e-4)


def test_weights_and_temperatures_follow_the_training() -> None:
    objective = build_objective(
        terms_of(
            {"term": "soft_targets", "weight": {"start": 1.0, "end": 0.0}, "temperature": {"start": 4.0, "end": 2.0}}
        ),
        ground(),
    )

    assert_close(objective(seen(share=0.5)), 0.5 * soft_target_kl(STUDENT, TEACHER, temperature=3.0))
    assert objective(seen(share=1.0)).item() == 0


def test_focus_goes_by_the_teachers_entropy_and_by_the_students_distance() -> None:
    teacher, student = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]]), STUDENT[:2]

    sure, unsure, hard = (
        focus_weights(student, teacher, focus=focus, several=False) for focus in ("sure", "unsure", "hard")
    )

    assert sure is not None
    assert unsure is not None
    assert hard is not None
    assert sure[0] > sure[1]
    assert unsure[0] < unsure[1]
    rows = [soft_target_kl(student[row : row + 1], teacher[row : row + 1], temperature=1.0) for row in range(2)]
    assert_close(hard, torch.stack(rows) / torch.stack(rows).mean())
    for weights in (sure, unsure, hard):
        assert weights.mean().item() == pytest.approx(1.0)
    assert focus_weights(student, teacher, focus="all", several=False) is None


def test_places_that_padding_adds_do_not_make_a_teacher_surer() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0]])
    padded = torch.cat([logits, torch.full((1, 5), LOW)], dim=1)

    assert_close(normalised_entropy(padded, several=False), normalised_entropy(logits, several=False))
    assert_close(normalised_entropy(torch.zeros(1, 4), several=False), torch.ones(1))


def test_focus_on_nothing_counts_all_alike() -> None:
    same = focus_weights(TEACHER, TEACHER, focus="hard", several=False)

    assert same is not None
    assert_close(same, torch.ones(4))


def test_the_temperature_falls_with_the_teachers_doubt() -> None:
    teacher = torch.tensor([[50.0, 0.0], [0.0, 0.0]])

    assert_close(adapted_temperature(teacher, temperature=4.0, several=False), torch.tensor([4.0, 1.0]))
    assert_close(normalised_entropy(teacher, several=True), torch.tensor([0.5, 1.0]))


def test_a_term_of_ones_own_joins_from_python() -> None:
    mine = Term("mine", compute=lambda batch: batch.student["logits"].square().mean(), weight=0.5)

    assert_close(type(labels_alone())([mine])(seen()), 0.5 * STUDENT.square().mean())
