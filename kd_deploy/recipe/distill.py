"""How the student learns: from which texts, by which objective, in one stage or several."""

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from kd_deploy.numbers import Float
from kd_deploy.recipe.adapter import Adapter
from kd_deploy.recipe.objective import AlphaBeta, HardLabels, JensenShannon, ReverseKl, SkewKl, SoftTargets, Term
from kd_deploy.recipe.section import Fraction, NotNegative, PositiveFloat, PositiveInt, Section, Seed, told_by
from kd_deploy.recipe.training import Training

OVER_THE_LIKELIEST = (SoftTargets, ReverseKl, JensenShannon, AlphaBeta, SkewKl)


class Augment(Section):
    """New texts made of the training texts, for the teacher to answer."""

    mask: Fraction = Field(0.1, description="Share of the words that are masked.")
    replace: Fraction = Field(0.1, description="Share of the words replaced by a neighbour among the teacher's.")
    ngram: Fraction = Field(0.25, description="Share of the texts cut to one to five words.")
    copies: PositiveInt = Field(1, description="New texts for each text, at most.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_draw_a_word(self) -> Self:
        if self.mask + self.replace > 1:
            raise ValueError("mask and replace are shares of the same words: together they may be 1 at most")
        if self.mask == self.replace == self.ngram == 0:
            raise ValueError("mask, replace and ngram are all 0, which makes no new text: leave augment out")
        if self.mask == 1:
            raise ValueError("mask: 1 leaves no word of a text: lower it")
        return self


class Samples(Section):
    """Where the teacher counts: its terms learn nothing from rows below a limit; labels count all the same."""

    min_confidence: Fraction | None = Field(None, description="Probability that the teacher gives its answer.")
    top_share: Annotated[Float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of the rows of each class, the surest ones, as the teacher sees it."
    )
    wrong: Fraction = Field(1.0, description="Weight of the teacher where its answer is not the label; 0: none.")

    @property
    def all_count(self) -> bool:
        """Whether the teacher counts alike everywhere."""
        return self.min_confidence is None and self.top_share is None and self.wrong == 1


class Active(Section):
    """The student chooses, round by round, which texts the teacher is asked about."""

    budget: PositiveInt = Field(description="Texts that the teacher is asked about, at most.")
    rounds: PositiveInt = Field(4, description="Parts in which the budget is spent, with a training after each.")
    strategy: Literal["random", "uncertainty", "margin", "disagreement", "diversity"] = Field(
        "margin",
        description="Which texts: any; the least certain; those between two classes; those on which two passes "
        "under dropout differ; those unlike all asked before.",
    )

    @model_validator(mode="after")
    def _a_text_a_round(self) -> Self:
        if self.rounds > self.budget:
            raise ValueError(f"rounds {self.rounds} is more than the budget of {self.budget} texts")
        return self


class Sequences(Section):
    """Kim and Rush 2016, arXiv 1606.07947: the student learns to write what the teacher writes.

    The teacher writes once for every source; its texts are kept and used again by later runs.
    """

    beams: PositiveInt = Field(4, description="Texts that the teacher follows side by side.")
    targets: Literal["teacher", "both"] = Field(
        "teacher", description="Learn from the teacher's texts alone, or from those of the data as well."
    )


class OnPolicy(Section):
    """Agarwal et al. 2024 (GKD), arXiv 2306.13649: the student writes, and the teacher says what should come next."""

    share: Annotated[Float, Field(gt=0, le=1)] = Field(0.5, description="Of the batches.")
    temperature: PositiveFloat = Field(1.0, description="Of the chance by which the student chooses.")
    prompt: Fraction = Field(
        0.3, description="For language models: the share of each text that is given, before the student goes on."
    )


class Distill(Training):
    """How the student learns from the teacher."""

    objective: Annotated[tuple[Term, ...], Field(min_length=1)] = (
        SoftTargets(term="soft_targets", weight=0.9),
        HardLabels(term="hard_labels", weight=0.1),
    )
    epochs: PositiveInt = 4
    learning_rate: PositiveFloat | None = Field(
        None,
        description="Left out: 1e-4 for a student that starts from trained layers, 5e-4 for a transformer that does "
        "not, 1e-3 for bilstm and static, and for adapters.",
    )
    texts: Literal["all", "labeled", "unlabeled"] = Field(
        "all", description="Which texts it learns from: those of data.train, those of data.unlabeled, or both."
    )
    augment: Augment | None = Field(None, description="Left out: no texts are made.")
    active: Active | None = Field(None, description="Left out: the teacher is asked about every text.")
    samples: Samples = Samples()
    sequences: Sequences | None = Field(None, description="Left out: targets are those of the data.")
    on_policy: OnPolicy | None = Field(None, description="Left out: it learns from texts that are there.")
    cache_gb: NotNegative = Field(
        8.0, description="Most that the teacher's layers may take on disk; beyond it the teacher answers live."
    )
    top_k: PositiveInt | None = Field(
        None,
        description="Entries of the vocabulary that are kept of the teacher's answer at each token, beside the mass of "
        "all others, and used over epochs and runs. Left out: the teacher answers live, with all of them.",
    )
    adapter: Adapter | None = Field(None, description="Left out: all weights of the student are trained.")
    control: bool = Field(True, description="Also train the same student on labels alone, for the report.")

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if all(term.is_nothing for term in self.objective):
            raise ValueError("every term of the objective has weight 0")
        if self.on_policy and all(term.term == "hard_labels" for term in self.objective):
            raise ValueError("on_policy: nobody but the teacher says what is right there, and no term asks it")
        if self.top_k is not None:
            _require_kept_answers(self.objective)
            if self.on_policy:
                raise ValueError("top_k keeps answers about texts that are there, and on_policy asks about others")
        if self.texts != "all" and (self.active or self.sequences):
            raise ValueError(f"{'active' if self.active else 'sequences'} takes all texts: leave texts out")
        if self.texts == "unlabeled" and self.samples.wrong != 1:
            raise ValueError("samples.wrong is about texts with labels, and texts: unlabeled has none: leave one out")
        if self.adapter and self.embeddings == "sparse":
            raise ValueError("embeddings: sparse trains the word vectors, and adapter keeps them: leave one out")
        return self


def _require_kept_answers(objective: tuple[Term, ...]) -> None:
    """Refuse the terms that need more of the teacher than its likeliest entries and the mass of the rest.

    Raises:
        ValueError: Naming the first of them.
    """
    for term in objective:
        if isinstance(term, HardLabels):
            continue
        if not isinstance(term, OVER_THE_LIKELIEST):
            raise ValueError(  # noqa: TRY004 - pydantic takes it for a fault of the recipe
                f"top_k: {term.term} needs more than the likeliest entries of the teacher's answer"
            )
        if term.temperature != 1 or term.standardise:
            what = "standardise" if term.standardise else f"temperature {term.temperature}"
            raise ValueError(f"top_k: {term.term} has {what}, and the mass of the rest is known at temperature 1 alone")


Stages = Annotated[
    Annotated[Distill, Tag("<stage>")]
    | Annotated[Annotated[tuple[Distill, ...], Field(min_length=1)], Tag("<stages>")],
    told_by(list | tuple, "<stages>", "<stage>"),
]
