"""The terms of an objective: what a student is to match, each with its weight and its knobs."""

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from kd_deploy.numbers import Float, Int
from kd_deploy.recipe.section import (
    NotNegative,
    PositiveInt,
    Schedule,
    Section,
    Softness,
    Temperature,
    Weight,
    told_by,
)

Layer = Annotated[Int, Field(ge=0)]
MapName = Literal["uniform", "last", "skip", "top", "auto"]
Pairs = Annotated[tuple[tuple[Layer, Layer], ...], Field(min_length=1)]


LayerMap = Annotated[
    Annotated[MapName, Tag("<name>")] | Annotated[Pairs, Tag("<pairs>")], told_by(str, "<name>", "<pairs>")
]
Pooling = Literal["first", "mean"]
SMALLEST_POWER = 0.01  # of alpha_beta, alpha and beta together


class AnyTerm(Section):
    """What every term has."""

    weight: Weight = Field(1.0, description="A number, or {start, end, shape: linear | cosine} over the training.")

    @property
    def is_nothing(self) -> bool:
        """Whether its weight is 0 all the time."""
        return self.weight.is_nothing if isinstance(self.weight, Schedule) else self.weight == 0


class PerExample(AnyTerm):
    """A term that is a mean over the examples, so that some may count more than others."""

    focus: Literal["all", "sure", "unsure", "hard"] = Field(
        "all",
        description="Which examples count more: sure or unsure by the teacher's entropy; hard by the student's "
        "distance from the teacher.",
    )


class Softened(PerExample):
    """A divergence between class distributions softened by a temperature."""

    temperature: Temperature = 2.0
    adapt_temperature: bool = Field(
        False, description="Per example: the full temperature where the teacher is sure, 1 where it is not."
    )
    standardise: bool = Field(False, description="Compare z-scores of the logits (Sun et al. 2024).")


class SoftTargets(Softened):
    """Hinton et al. 2015: KL to the teacher's softened distribution, times temperature squared."""

    term: Literal["soft_targets"]


class ReverseKl(Softened):
    """KL of the student's distribution from the teacher's: seeks the teacher's mode."""

    term: Literal["reverse_kl"]


class JensenShannon(Softened):
    """Agarwal et al. 2024: generalised Jensen-Shannon divergence."""

    term: Literal["jensen_shannon"]
    beta: Annotated[Float, Field(gt=0, lt=1)] = 0.5


class AlphaBeta(Softened):
    """Wang et al. 2025 (ABKD): alpha-beta divergence."""

    term: Literal["alpha_beta"]
    alpha: NotNegative = 0.2
    beta: NotNegative = 0.7

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.alpha + self.beta < SMALLEST_POWER:
            raise ValueError(f"alpha and beta together must be at least {SMALLEST_POWER}")
        return self


class SkewKl(Softened):
    """Ko et al. 2024 (DistiLLM): KL to a mixture with the own distribution."""

    term: Literal["skew_kl"]
    skew: Annotated[Float, Field(ge=0, lt=1)] = 0.1
    direction: Literal["forward", "reverse"] = "forward"


class Decoupled(Softened):
    """Zhao et al. 2022 (DKD): the labelled class and the others, each with a weight of its own."""

    term: Literal["decoupled"]
    alpha: NotNegative = 1.0
    beta: NotNegative = 2.0

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        if self.alpha == self.beta == 0:
            raise ValueError("alpha and beta are both 0: the term would teach nothing")
        return self


class Relational(Softened):
    """Huang et al. 2022 (DIST): correlation within each example and within each class."""

    term: Literal["relational"]
    beta: NotNegative = 1.0
    gamma: NotNegative = 1.0

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        if self.beta == self.gamma == 0:
            raise ValueError("beta and gamma are both 0: the term would teach nothing")
        return self


class LogitMse(PerExample):
    """Ba and Caruana 2014: squared distance of the logits."""

    term: Literal["logit_mse"]
    standardise: bool = False


class HardLabels(PerExample):
    """Cross-entropy with the labels of the data."""

    term: Literal["hard_labels"]
    smoothing: Annotated[Float, Field(ge=0, lt=1)] = Field(0.0, description="Label smoothing (Szegedy et al. 2016).")


class Hidden(PerExample):
    """Romero et al. 2015 (FitNets): the layers' outputs, through a learned projection where widths differ."""

    term: Literal["hidden"]
    layers: LayerMap = Field("uniform", description="Or pairs [student layer, teacher layer], from 0.")
    distance: Literal["mse", "cosine"] = "mse"


class Embedding(PerExample):
    """Jiao et al. 2020 (TinyBERT): the outputs of the embedding layer."""

    term: Literal["embedding"]
    distance: Literal["mse", "cosine"] = "mse"


class Cls(PerExample):
    """Sun et al. 2019 (PKD): normalised states of the first token."""

    term: Literal["cls"]
    layers: LayerMap = "skip"


class AttentionMse(PerExample):
    """Jiao et al. 2020 (TinyBERT): squared distance of the attention scores; the same heads on both sides."""

    term: Literal["attention_mse"]
    layers: LayerMap = "uniform"


class AttentionKl(PerExample):
    """Wang et al. 2020 (MiniLM): KL of the attention distributions; the same heads on both sides."""

    term: Literal["attention_kl"]
    layers: LayerMap = "top"


class Relations(PerExample):
    """Wang et al. 2020 and 2021 (MiniLM v1, v2): how tokens relate by their queries, keys or values."""

    term: Literal["relations"]
    of: Annotated[tuple[Literal["query", "key", "value"], ...], Field(min_length=1)] = ("query", "key", "value")
    heads: PositiveInt | None = Field(
        None, description="Relation heads, which divide both widths. Left out: as many as do, at most the teacher's."
    )
    layers: LayerMap = "top"


class Structure(AnyTerm):
    """A term over the representations of a whole batch."""

    pooling: Pooling = Field("mean", description="What stands for a text: its first token, or the mean of all.")


class DistanceRelations(Structure):
    """Park et al. 2019 (RKD): distances between the texts of a batch."""

    term: Literal["distance_relations"]


class AngleRelations(Structure):
    """Park et al. 2019 (RKD): angles between the texts of a batch."""

    term: Literal["angle_relations"]


class SimilarityMatrix(Structure):
    """Tung and Mori 2019: which texts of a batch are alike."""

    term: Literal["similarity_matrix"]


class Contrastive(Structure):
    """InfoNCE: nearer to the teacher's representation of the same text than to those of the batch's others."""

    term: Literal["contrastive"]
    temperature: Softness = 0.05


Term = Annotated[
    SoftTargets
    | ReverseKl
    | JensenShannon
    | AlphaBeta
    | SkewKl
    | Decoupled
    | Relational
    | LogitMse
    | HardLabels
    | Hidden
    | Embedding
    | Cls
    | AttentionMse
    | AttentionKl
    | Relations
    | DistanceRelations
    | AngleRelations
    | SimilarityMatrix
    | Contrastive,
    Field(discriminator="term"),
]
