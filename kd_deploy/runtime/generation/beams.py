"""Beam search: several texts are followed side by side, and the one of the best mean log-probability is the answer.

A text is over as transformers' default has it: when as many finished texts as there are beams are all better than
what the best running one would be worth, ended now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.choosing import adjusted, log_softmax
from kd_deploy.runtime.generation.search import Draft
from kd_deploy.runtime.generation.transcript import Transcript
from kd_deploy.tasks.encoding import Encoded, Marks
from kd_deploy.tasks.writing import Decoder, Logits

BLOCK = 64  # scores that are looked through at once


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beam:
    """A text on the way: its score with penalties, its log-probability without, and the row of the batch before it."""

    tokens: tuple[int, ...] = ()
    score: float = 0.0
    log_probability: float = 0.0
    row: int = 0
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class _Finished:
    score: float  # by its length
    beam: _Beam


@dataclass(frozen=True, slots=True)
class _Scored:
    """A step of a batch, [R, V]: log-probabilities, and with penalties the scores of all texts that may follow."""

    log_probabilities: Logits
    scores: Logits


@dataclass(slots=True, kw_only=True)
class _Search:
    """One answer that is looked for."""

    draft: Draft
    running: list[_Beam]
    finished: list[_Finished] = field(default_factory=list)
    over: bool = False

    def go_on(self, scored: _Scored, *, first: int, settings: Generation, ends: Sequence[int], given: int = 0) -> None:
        """Follow the best texts by one token.

        Args:
            scored: The step of the batch.
            first: The first row of this answer.
            settings: The number of beams, the length penalty.
            ends: Tokens that end a text.
            given: Tokens behind the first that every text starts with: part of its length, as transformers counts.
        """
        width = settings.beams
        candidates = self._candidates(scored, first=first, count=max(2, 1 + len(ends)) * width, settings=settings)
        length = given + len(candidates[0].tokens)
        self.running = []
        for rank, beam in enumerate(candidates):
            if self._is_over(beam, ends):
                if rank < width:  # those behind are only there to go on with
                    self.finished.append(_Finished(beam.score / length**settings.length_penalty, beam))
            elif len(self.running) < width:
                self.running.append(beam)
        self.finished = sorted(self.finished, key=lambda one: -one.score)[:width]
        self.over = not self.running or self._cannot_improve(length, settings)

    def conclude(self, ends: Sequence[int]) -> None:
        """Write the best text down."""
        best = self.finished[0].beam
        for token in best.tokens:
            self.draft.add(token, 0.0, ends=ends)
        self.draft.log_probability = best.log_probability

    def _candidates(self, scored: _Scored, *, first: int, count: int, settings: Generation) -> list[_Beam]:
        rows = range(first, first + len(self.running))
        vocabulary = scored.scores.shape[1]
        found = []
        for place in _best(scored.scores[rows.start : rows.stop].ravel(), count):
            number, token = divmod(int(place), vocabulary)
            before, row = self.running[number], rows[number]
            beam = _Beam(
                tokens=(*before.tokens, token),
                score=float(scored.scores[row, token]),
                log_probability=before.log_probability + float(scored.log_probabilities[row, token]),
                row=row,
                transcript=before.transcript.add(token) if settings.stop else before.transcript,
            )
            found.append(beam)
        return found

    def _is_over(self, beam: _Beam, ends: Sequence[int]) -> bool:
        stopped = beam.transcript.stop_at is not None
        return stopped or beam.tokens[-1] in ends or len(beam.tokens) >= self.draft.limit

    def _cannot_improve(self, length: int, settings: Generation) -> bool:
        if len(self.finished) < settings.beams:
            return False
        ended_now: float = self.running[0].score / length**settings.length_penalty
        return ended_now <= self.finished[-1].score


def search_beams(
    decoder: Decoder, encoded: Sequence[Encoded], drafts: Sequence[Draft], *, settings: Generation, marks: Marks
) -> None:
    """Write all drafts of a batch, each as the best text that was found.

    Args:
        decoder: The model. Prompts and sources are read once, whatever the number of beams.
        encoded: Prompts or sources.
        drafts: What is written after each.
        settings: The number of beams, the length penalty.
        marks: Tokens that end a text, and those that are not to be written.
    """
    live = [_Search(draft=draft, running=[_Beam(transcript=draft.transcript)]) for draft in drafts]
    step = decoder.start(encoded)
    while True:
        scored, first = _scored(step.logits, live, settings=settings, never=marks.never), 0
        for search in live:
            rows = len(search.running)
            search.go_on(scored, first=first, settings=settings, ends=marks.ends, given=max(0, len(marks.starts) - 1))
            first += rows
            if search.over:
                search.conclude(marks.ends)
        live = [search for search in live if not search.over]
        if not live:
            return
        beams = [beam for search in live for beam in search.running]
        state = decoder.keep(step.state, [beam.row for beam in beams])
        step = decoder.step(state, np.array([beam.tokens[-1] for beam in beams], dtype=np.int64))


def _scored(logits: Logits, live: Sequence[_Search], *, settings: Generation, never: Sequence[int]) -> _Scored:
    beams = [(search.draft.given, beam) for search in live for beam in search.running]
    log_probabilities = log_softmax(logits)
    histories = [[*given, *beam.tokens] for given, beam in beams]
    scores = adjusted(log_probabilities, histories, settings=settings, never=never)
    so_far = np.array([beam.score for _, beam in beams], dtype=np.float32)[:, None]
    return _Scored(log_probabilities, scores + so_far)


def _best(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    # Where the highest scores stand, the best first; places without a chance are left out.
    count = min(count, len(scores))
    among = _high(scores, count)
    found = among[np.argpartition(scores[among], -count)[-count:]]
    found = np.sort(found[scores[found] > -np.inf])
    return found[np.argsort(-scores[found], kind="stable")].astype(np.int64, copy=False)


def _high(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    # Places among which the highest are: to sort out all scores takes ten times as long as to look through them.
    blocks = len(scores) // BLOCK
    if blocks <= count:
        return np.arange(len(scores))
    heads = scores[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
    least = np.partition(heads, -count)[-count]  # so many blocks have one that is at least as high
    return np.flatnonzero(scores >= least)
