"""Texts written one token after the other: the likeliest, or by chance. Whoever is done costs nothing more."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.choosing import choose
from kd_deploy.runtime.generation.transcript import Transcript
from kd_deploy.tasks.encoding import Encoded, Marks
from kd_deploy.tasks.writing import Decoder, Logits, Written


@dataclass(slots=True, kw_only=True)
class Draft:
    """A text that is being written.

    Attributes:
        given: What stands before it: a prompt, or the decoder's first tokens.
        limit: Tokens that it may have, with the one that ends it.
        transcript: Its text so far.
        chance: Where its tokens are drawn from.
        tokens: Those so far, without the one that ended it.
        places: Characters of the text before each of them.
        log_probability: Of all that was written, in nats.
        ended: Whether an end token or a stop text came.
    """

    given: Sequence[int]
    limit: int
    transcript: Transcript
    chance: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    ended: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more is to be written."""
        return self.ended or len(self.tokens) >= self.limit

    @property
    def history(self) -> list[int]:
        """All tokens so far, those before the text among them."""
        return [*self.given, *self.tokens]

    def add(self, token: int, log_probability: float, *, ends: Sequence[int]) -> None:
        """Write a token."""
        self.log_probability += log_probability
        if token in ends:
            self.ended = True
            return
        self.places.append(len(self.transcript.text))
        self.tokens.append(token)
        self.transcript = self.transcript.add(token)
        self.ended = self.transcript.stop_at is not None

    def written(self) -> Written:
        """The text as it is now, as an answer; tokens that begin in a stop text or behind it are left out."""
        done = self.transcript.finish()
        stop_at = len(done.text) + 1 if done.stop_at is None else done.stop_at
        tokens = tuple(token for token, place in zip(self.tokens, self.places, strict=True) if place < stop_at)
        ended = self.ended or done.stop_at is not None
        return Written(text=done.answer, tokens=tokens, ended=ended, log_probability=self.log_probability)


def advance(
    decoder: Decoder, encoded: Sequence[Encoded], drafts: Sequence[Draft], *, settings: Generation, marks: Marks
) -> Iterator[None]:
    """Write all drafts of a batch to their ends; one pause after each token.

    Args:
        decoder: The model.
        encoded: Prompts or sources.
        drafts: What is written after each.
        settings: The choice of tokens.
        marks: Tokens that end a text, and those that are not to be written.
    """
    live = list(drafts)
    looks_back = settings.repetition_penalty != 1 or settings.no_repeat_ngram > 0
    step = decoder.start(encoded)
    while True:
        chosen = choose(
            step.logits,
            [draft.history if looks_back else () for draft in live],
            settings=settings,
            never=marks.never,
            chances=[draft.chance for draft in live],
        )
        for draft, token, log_probability in zip(
            live, chosen.tokens.tolist(), chosen.log_probabilities.tolist(), strict=True
        ):
            draft.add(token, log_probability, ends=marks.ends)
        yield
        rows = [row for row, draft in enumerate(live) if not draft.over]
        if not rows:
            return
        state = step.state if len(rows) == len(live) else decoder.keep(step.state, rows)
        live = [live[row] for row in rows]
        step = decoder.step(state, chosen.tokens[rows])


def tokens_after(
    decoder: Decoder,
    encoded: Sequence[Encoded],
    *,
    limits: Sequence[int],
    ends: Collection[int],
    pick: Callable[[Logits, Sequence[int]], NDArray[np.int64]],
) -> list[list[int]]:
    """The tokens that a model writes after each prompt or for each source, with the one that ends them, as ids alone.

    Args:
        decoder: The model.
        encoded: Prompts or sources.
        limits: How many tokens each may have, at least 1.
        ends: The tokens that say that a text is over.
        pick: A token for each row of logits [b, V], given the numbers of these texts.
    """
    texts: list[list[int]] = [[] for _ in encoded]
    going = list(range(len(encoded)))
    step = decoder.start(encoded)
    while True:
        chosen = pick(step.logits, going)
        for row, token in zip(going, chosen.tolist(), strict=True):
            texts[row].append(token)
        kept = [
            place for place, row in enumerate(going) if texts[row][-1] not in ends and len(texts[row]) < limits[row]
        ]
        going = [going[place] for place in kept]
        if not going:
            return texts
        step = decoder.step(decoder.keep(step.state, kept), chosen[kept])
