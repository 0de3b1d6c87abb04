"""New texts out of training texts, without labels: the teacher answers them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kd_deploy.distill.neighbours import Neighbours
from kd_deploy.distill.words import Words, split
from kd_deploy.errors import RecipeError
from kd_deploy.tasks.encoding import TextInput

LONGEST_NGRAM = 5
TRIES = 5  # For each text wanted: a short text often comes back unchanged.
TEXTS_AT_ONCE = 4096

Sides = tuple[Words, ...]


class Augmentation(Protocol):
    """How new texts are made of a text."""

    @property
    def mask(self) -> float:
        """Share of the words that are masked, from 0 to 1; Tang et al. take 0.1."""

    @property
    def replace(self) -> float:
        """Share of the words that a neighbour replaces, from 0 to 1; with `mask` at most 1."""

    @property
    def ngram(self) -> float:
        """Probability that a text is cut to one to five words in a row; Tang et al. take 0.25."""

    @property
    def copies(self) -> int:
        """New texts for each text, at most; 0 or above."""

    @property
    def seed(self) -> int:
        """Decides, with the row number, every draw; 0 or above."""


def augmented(
    inputs: Sequence[TextInput], settings: Augmentation, *, neighbours: Neighbours | None, mask_token: str
) -> list[TextInput]:
    """New texts made by masking, cutting and replacing words, for the teacher to answer.

    Masking and n-grams are those of Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple
    neural networks", arXiv 1903.12136; replacement by a near word is that of Jiao et al. 2020, "TinyBERT", arXiv
    1909.10351, for words of several pieces; here it serves all words, where they ask BERT about whole ones. One draw
    a word decides between mask, neighbour and neither. Punctuation and spacing stay. Every new text keeps at least
    one word that is not masked.

    What is made of a row depends on the seed, the row's number and its text; the other rows can only make it
    a duplicate.

    Args:
        inputs: Texts or pairs. Both sides of a pair are changed, one of them at most is cut.
        settings: What is done, how often, and the seed.
        neighbours: Where replacements come from; None where `replace` is 0. A word unknown to it stays.
        mask_token: As the tokenizer writes it; read only where `mask` is above 0.

    Returns:
        Texts that are not among the inputs, none twice, in the order of the rows they were made of. Fewer
        than `copies` for a text that is too short to give more.

    Raises:
        RecipeError: A setting out of its range, or one that lacks its neighbours or its mask token.
    """
    _check(settings, neighbours=neighbours, mask_token=mask_token)
    maker = _Maker(settings, neighbours, mask_token)
    seen = set(inputs)
    made: list[TextInput] = []
    for start in range(0, len(inputs), TEXTS_AT_ONCE):
        for row, sides in enumerate(maker.sides(inputs[start : start + TEXTS_AT_ONCE]), start):
            for one in maker.copies(inputs[row], sides, row=row):
                if one not in seen:
                    seen.add(one)
                    made.append(one)
    return made


@dataclass(frozen=True, slots=True)
class _Maker:
    settings: Augmentation
    neighbours: Neighbours | None
    mask_token: str

    def sides(self, inputs: Sequence[TextInput]) -> list[Sides]:
        texts = [(one,) if isinstance(one, str) else one for one in inputs]
        sides = [tuple(split(text) for text in one) for one in texts]
        if self.neighbours and self.settings.replace and self.settings.copies:
            self.neighbours.look_up(side[index] for one in sides for side in one for index in range(len(side)))
        return sides

    def copies(self, original: TextInput, sides: Sides, *, row: int) -> Iterator[TextInput]:
        """New texts of one row, none of them the original, none twice."""
        random = np.random.default_rng([self.settings.seed, row])
        seen = {original}
        for _ in range(TRIES * self.settings.copies):
            if len(seen) > self.settings.copies:
                return
            one = self.copy(sides, random)
            if one is not None and one not in seen:
                seen.add(one)
                yield one

    def copy(self, sides: Sides, random: np.random.Generator) -> TextInput | None:
        """One new text, perhaps the original again; None where a side would have no word left."""
        cut = int(random.integers(len(sides))) if random.random() < self.settings.ngram else None
        texts = [self.side(words, random, cut=place == cut) for place, words in enumerate(sides)]
        if len(texts) == 1:
            return texts[0]
        first, second = texts
        return None if first is None or second is None else (first, second)

    def side(self, words: Words, random: np.random.Generator, *, cut: bool) -> str | None:
        places = _ngram(words.places, random) if cut else words.places
        parts = list(words.parts)
        mask, change = self.settings.mask, self.settings.mask + self.settings.replace
        masked = 0
        for place, draw in zip(places, random.random(len(places)).tolist(), strict=True):
            if draw < mask:
                parts[place] = self.mask_token
                masked += 1
            elif draw < change:
                parts[place] = self.neighbour(parts[place], random)
        if places and masked == len(places):
            return None
        return "".join(parts if len(places) == len(words) else parts[places[0] : places[-1] + 1])

    def neighbour(self, word: str, random: np.random.Generator) -> str:
        near = self.neighbours.nearest(word) if self.neighbours else ()
        return near[int(random.integers(len(near)))] if near else word


def _ngram(places: Sequence[int], random: np.random.Generator) -> Sequence[int]:
    # One to five words in a row; all of them leave the text as it is, with the punctuation around it.
    if not places:
        return places
    count = int(random.integers(1, min(LONGEST_NGRAM, len(places)) + 1))
    start = int(random.integers(len(places) - count + 1))
    return places[start : start + count]


def _check(settings: Augmentation, *, neighbours: Neighbours | None, mask_token: str) -> None:
    for name in ("mask", "replace", "ngram"):
        share = getattr(settings, name)
        if not 0 <= share <= 1:
            raise RecipeError(f"augmentation: {name} is {share}", hint="give a share between 0 and 1")
    for name in ("copies", "seed"):
        number = getattr(settings, name)
        if number < 0:
            raise RecipeError(f"augmentation: {name} is {number}", hint="give 0 or a number above")
    if settings.mask + settings.replace > 1:
        total = settings.mask + settings.replace
        raise RecipeError(f"augmentation: mask and replace add up to {total}", hint="let them add up to 1 at most")
    if settings.mask and not mask_token:
        raise RecipeError("augmentation: the tokenizer has no mask token", hint="set mask to 0")
    if settings.replace and neighbours is None:
        raise RecipeError("augmentation: replace needs an embedding table, and there is none", hint="set replace to 0")
