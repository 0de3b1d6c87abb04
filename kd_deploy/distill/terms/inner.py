"""Terms over layers, attention and whole batches, made ready from their sections of the recipe."""

from collections.abc import Callable, Sequence
from functools import partial
from math import gcd
from typing import Any

from torch import Tensor, nn

from kd_deploy.distill.objectives import structure
from kd_deploy.distill.objectives.attention import attention_kl, attention_mse, attention_scores, relation_kl
from kd_deploy.distill.objectives.features import cls_distance, hidden_distance, pooled
from kd_deploy.distill.terms.ground import Ground, mean, name_of, teacher_names, text_weights_of, unfit
from kd_deploy.distill.terms.term import Seen, Term
from kd_deploy.recipe import objective as recipe

Names = Sequence[tuple[str, str]]
BETWEEN_TEXTS: dict[type[recipe.AnyTerm], Callable[[Any], Callable[[Tensor, Tensor], Tensor]]] = {
    recipe.DistanceRelations: lambda _: structure.distance_relations,
    recipe.AngleRelations: lambda _: structure.angle_relations,
    recipe.SimilarityMatrix: lambda _: structure.similarity_matrix,
    recipe.Contrastive: lambda term: partial(structure.contrastive, temperature=term.temperature),
}


def hidden(term: recipe.Hidden, ground: Ground) -> Term:
    """The outputs of layers, through learned projections where widths differ."""
    names = _named("hidden", ground.pairs(term, term.layers))
    return _projected(term, names, widths=(ground.student.width, ground.teacher.width))


def embedding(term: recipe.Embedding, ground: Ground) -> Term:
    """The outputs of the embedding layers."""
    widths = (ground.student.embedding_width, ground.teacher.embedding_width)
    return _projected(term, [("embedding", "embedding")], widths=widths)


def cls(term: recipe.Cls, ground: Ground) -> Term:
    """Normalised states of the first token.

    Raises:
        RecipeError: The widths differ, or one of the models has no first token that stands for a text.
    """
    without = next((one for one in (ground.student, ground.teacher) if not one.first_token), None)
    if without:
        why = f"needs a first token that stands for the text, and a {without.name} has none"
        raise unfit(term, why, hint="use hidden")
    if ground.student.width != ground.teacher.width:
        raise unfit(
            term,
            f"needs equal widths: the student's is {ground.student.width}, the teacher's {ground.teacher.width}",
            hint="use hidden, which learns a projection",
        )
    names = _named("hidden", ground.pairs(term, term.layers))

    def compute(seen: Seen) -> Tensor:
        weights, (mine, theirs) = text_weights_of(term, seen), seen.masks
        states = [
            (pooled(seen.student[low], mine, how="first"), pooled(seen.teacher[high], theirs, how="first"))
            for low, high in names
        ]
        return mean([cls_distance(low, high, weights=weights) for low, high in states])

    return _term(term, names, compute)


def attention(term: recipe.AttentionMse | recipe.AttentionKl, ground: Ground) -> Term:
    """Attention scores or distributions.

    Raises:
        RecipeError: The models have no attention to read, or other numbers of heads.
    """
    low_heads, high_heads = ground.heads(term)
    if low_heads != high_heads:
        raise unfit(
            term,
            f"needs as many heads on both sides: the student has {low_heads}, the teacher {high_heads}",
            hint="use relations, which may differ in heads and widths",
        )
    pairs = ground.pairs(term, term.layers)
    queries, keys = _named("query", pairs), _named("key", pairs)
    distance = attention_mse if isinstance(term, recipe.AttentionMse) else attention_kl

    def compute(seen: Seen) -> Tensor:
        weights = text_weights_of(term, seen)
        losses = []
        for query, key in zip(queries, keys, strict=True):
            low = attention_scores(seen.student[query[0]].float(), seen.student[key[0]].float(), heads=low_heads)
            high = attention_scores(seen.teacher[query[1]].float(), seen.teacher[key[1]].float(), heads=high_heads)
            losses.append(distance(low, high, mask=seen.mask, weights=weights))
        return mean(losses)

    return _term(term, [*queries, *keys], compute)


def relations(term: recipe.Relations, ground: Ground) -> Term:
    """How tokens relate by their queries, keys or values.

    Raises:
        RecipeError: No attention to read, or relation heads that do not divide both widths.
    """
    _, teacher_heads = ground.heads(term)
    common = gcd(ground.student.width, ground.teacher.width)
    heads = term.heads or max(n for n in range(1, teacher_heads + 1) if common % n == 0)
    for side, shape in (("student", ground.student), ("teacher", ground.teacher)):
        if shape.width % heads:
            fitting = [n for n in range(1, 65) if common % n == 0]
            raise unfit(
                term,
                f"cannot share the {side}'s width {shape.width} among {heads} relation heads",
                hint=f"set heads to one of {', '.join(map(str, fitting))}",
            )
    names = [name for kind in term.of for name in _named(kind, ground.pairs(term, term.layers))]

    def compute(seen: Seen) -> Tensor:
        relate = partial(relation_kl, mask=seen.mask, heads=heads, weights=text_weights_of(term, seen))
        return mean([relate(seen.student[low], seen.teacher[high]) for low, high in names])

    return _term(term, names, compute)


def structural(term: recipe.Structure, ground: Ground) -> Term:
    """Relations between the texts of a batch, by what the top layers say of them."""
    names = _named("hidden", ground.pairs(term, "top"))
    (low, high), widths = names[0], (ground.student.width, ground.teacher.width)
    projects = isinstance(term, recipe.Contrastive) and widths[0] != widths[1]
    learned = nn.Linear(*widths, bias=False) if projects else None
    distance = BETWEEN_TEXTS[type(term)](term)

    def compute(seen: Seen) -> Tensor:
        mine, theirs = seen.masks
        student = pooled(seen.student[low].float(), mine, how=term.pooling)
        teacher = pooled(seen.teacher[high].float(), theirs, how=term.pooling)
        return distance(learned(student) if learned else student, teacher)

    return Term(
        name_of(term),
        weight=term.weight,
        compute=compute,
        student=(low,),
        teacher=(high,),
        learned=learned,
        answers=False,
    )


def _projected(term: recipe.Hidden | recipe.Embedding, names: Names, *, widths: tuple[int, int]) -> Term:
    differ = widths[0] != widths[1]
    projections = nn.ModuleList(nn.Linear(*widths, bias=False) if differ else nn.Identity() for _ in names)

    def compute(seen: Seen) -> Tensor:
        distance = partial(hidden_distance, mask=seen.mask, distance=term.distance, weights=text_weights_of(term, seen))
        return mean(
            [
                distance(project(seen.student[low].float()), seen.teacher[high])
                for project, (low, high) in zip(projections, names, strict=True)
            ]
        )

    return _term(term, names, compute, learned=projections if differ else None)


def _named(kind: str, pairs: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(f"{kind}.{low}", f"{kind}.{high}") for low, high in pairs]


def _term(
    term: recipe.PerExample, names: Names, compute: Callable[[Seen], Tensor], *, learned: nn.Module | None = None
) -> Term:
    return Term(
        name_of(term),
        weight=term.weight,
        compute=compute,
        student=[low for low, _ in names],
        teacher=teacher_names(term, [high for _, high in names]),
        learned=learned,
        answers=False,
    )
