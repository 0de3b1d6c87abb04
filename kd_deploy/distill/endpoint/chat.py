"""A chat model as teacher: one question a text, the probability of each label's letter as its first token."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from kd_deploy.distill.endpoint.answers import fill
from kd_deploy.distill.endpoint.http import Connection
from kd_deploy.errors import TrainingError
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.tasks.encoding import TextInput, utf8

ROUNDING = 1e-3  # a probability of 1 in half precision
LETTERS = "ABCDEFGHIJKLMNOPQRST"  # as many as the likeliest tokens that a server lists
QUESTION = """Which label fits the text? Answer with the letter of one label and nothing else.

Labels:
{labels}

Text:
{text}
"""
PAIR_QUESTION = """Which label fits the two texts? Answer with the letter of one label and nothing else.

Labels:
{labels}

First text:
{text}

Second text:
{text_pair}
"""


class Candidate(BaseModel):
    """A token that the model might have said."""

    token: str
    logprob: Annotated[float, Field(le=ROUNDING)]  # -inf stands for no chance at all

    @field_validator("logprob")
    @classmethod
    def _a_number(cls, value: float) -> float:
        if math.isnan(value):
            raise ValueError("must be a number")
        return value


class _Position(Candidate):
    top_logprobs: tuple[Candidate, ...] = ()


class _Logprobs(BaseModel):
    content: tuple[_Position, ...] | None = None


class _Choice(BaseModel):
    logprobs: _Logprobs | None = None


class _Completion(BaseModel):
    choices: tuple[_Choice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Chat completions in the style of OpenAI, as vLLM and llama.cpp serve them too."""

    settings: Endpoint
    labels: tuple[str, ...]
    connection: Connection

    @property
    def batch_size(self) -> int:
        """How many texts a request takes: one."""
        return 1

    def ask(self, inputs: Sequence[TextInput]) -> NDArray[np.float64]:
        """Log-probabilities, [B, C]; a row of NaN where no label's letter is among the likeliest tokens.

        Raises:
            TrainingError: The server gives no log-probabilities, or the prompt is not for such inputs.
        """
        return np.stack([letter_scores(self._candidates(one), count=len(self.labels)) for one in inputs])

    def _candidates(self, one: TextInput) -> tuple[Candidate, ...]:
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": self._question(one)}],
            "max_tokens": 1,  # not max_completion_tokens: more servers read this name
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": len(LETTERS),
        }
        answer = self.connection.post("chat/completions", _Completion, body=body)
        said = [choice.logprobs.content[0] for choice in answer.choices if choice.logprobs and choice.logprobs.content]
        if not said or not said[0].top_logprobs:
            raise TrainingError(
                f"{self.settings.model} at {self.settings.url} gives no log-probabilities",
                hint="let the server give them (logprobs, top_logprobs), or choose another model",
            )
        return said[0].top_logprobs

    def _question(self, one: TextInput) -> str:
        first, second = (one, None) if isinstance(one, str) else one
        prompt = self.settings.prompt or (QUESTION if second is None else PAIR_QUESTION)
        if ("{text_pair}" in prompt) != (second is not None):
            wrong = "names {text_pair}, but the inputs are" if second is None else "has no {text_pair} for"
            raise TrainingError(
                f"the prompt {wrong} {'single texts' if second is None else 'pairs of texts'}",
                hint="change teacher.endpoint.prompt, or leave it out",
            )
        lines = "\n".join(f"{letter}: {label}" for letter, label in zip(LETTERS, self.labels, strict=False))
        parts = {"{labels}": lines, "{text}": utf8(first), "{text_pair}": utf8(second or "")}
        # In one pass: a text may hold such a name itself.
        return re.sub(r"\{(?:labels|text|text_pair)\}", lambda found: parts[found.group()], prompt)


def letter_scores(candidates: Sequence[Candidate], *, count: int) -> NDArray[np.float64]:
    """Log-probabilities of the first `count` letters, [C]; NaN where none of them is a candidate.

    Tokens that differ in white space alone are the same letter. Letters that are not listed share what the list
    leaves evenly; none can be likelier than the last that is listed.

    Args:
        candidates: The likeliest tokens of one place.
        count: Of labels, at most 20.
    """
    places = {letter: place for place, letter in enumerate(LETTERS[:count])}
    listed = np.exp([min(0.0, candidate.logprob) for candidate in candidates])
    known = np.zeros((1, count))
    for candidate, probability in zip(candidates, listed, strict=True):
        if (place := places.get(candidate.token.strip())) is not None:
            known[0, place] += probability
    if not known.any():
        return np.full(count, np.nan)
    left = np.maximum(0.0, 1.0 - listed.sum(keepdims=True))
    scores: NDArray[np.float64] = np.log(fill(known, left=left, most=listed.min(keepdims=True)))[0]
    return scores
