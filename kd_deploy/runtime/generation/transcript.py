"""Tokens back to text while they come: whole characters only, and where a stop text begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tokenizers import Tokenizer

HALF = "\ufffd"  # what a tokenizer of bytes shows of a character that is not complete
CONTEXT = 8  # tokens of a prompt that say how an answer joins to it


@dataclass(frozen=True, slots=True)
class Reader:
    """A tokenizer as the way back to text, in which special tokens are nothing."""

    tokenizer: Tokenizer
    special: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """The reader of a tokenizer."""
        added = tokenizer.get_added_tokens_decoder().items()
        return cls(tokenizer, frozenset(number for number, token in added if token.special))

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens that are not special mean."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The text of an answer so far, without half characters, and the place of a stop text in it.

    A token alone may mean something else than behind its neighbours: a space, or part of a character. So the text
    of a new token is what a window of the last tokens gains by it. A transcript does not change: `add` gives the
    next one.
    """

    reader: Reader
    stop: tuple[str, ...] = ()
    text: str = ""
    stop_at: int | None = None
    window: tuple[int, ...] = ()
    told: int = 0  # tokens of the window that are in the text, or before it
    shown: str = ""  # what those mean

    @classmethod
    def after(cls, prompt: Sequence[int], reader: Reader, *, stop: tuple[str, ...] = ()) -> Self:
        """The empty transcript of what follows a prompt; of an answer that joins to nothing where that is empty."""
        window = tuple(token for token in prompt[-CONTEXT:] if token not in reader.special)
        return cls(reader=reader, stop=stop, window=window, told=len(window), shown=reader.text(window))

    @property
    def safe(self) -> int:
        """Characters of the text that are sure to stay, whatever follows: none that a stop text may begin with."""
        if self.stop_at is not None:
            return self.stop_at
        longest = max((len(one) for one in self.stop), default=0)
        for at in range(max(0, len(self.text) - longest + 1), len(self.text)):
            if any(one.startswith(self.text[at:]) for one in self.stop):
                return at
        return len(self.text)

    @property
    def answer(self) -> str:
        """The text before the stop text."""
        return self.text[: self.stop_at]

    def add(self, token: int) -> Self:
        """The transcript with one token more."""
        if token in self.reader.special:
            return self
        window = (*self.window, token)
        whole = self.reader.text(window)
        if whole.endswith(HALF) or len(whole) <= len(self.shown):
            return replace(self, window=window)
        new = window[self.told :]
        return self._longer(whole[len(self.shown) :], window=new, shown=self.reader.text(new))

    def finish(self) -> Self:
        """The transcript when no token follows: with what is left of half characters."""
        rest = self.reader.text(self.window)[len(self.shown) :]
        return self._longer(rest, window=(), shown="") if rest else self

    def _longer(self, more: str, *, window: tuple[int, ...], shown: str) -> Self:
        text, stop_at = self.text + more, self.stop_at
        if stop_at is None:
            found = [text.find(one, max(0, len(self.text) - len(one) + 1)) for one in self.stop]
            stop_at = min((place for place in found if place >= 0), default=None)
        return replace(self, text=text, stop_at=stop_at, window=window, told=len(window), shown=shown)
