"""Texts to arrays: the one road that training, evaluation and serving share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kd_deploy.errors import BundleError
from kd_deploy.runner import Batch

TextInput = str | tuple[str, str]
CHARACTERS_PER_TOKEN = 64  # Far above any real text: what lies beyond would be cut after tokenising, at full cost.


@dataclass(frozen=True, slots=True)
class Places:
    """Where each token stands: its characters in its text, the number of its word, and which text of a pair it is of.

    None for the word and the text of a special token.
    """

    characters: list[tuple[int, int]]
    words: list[int | None]
    texts: list[int | None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input as token ids and segment ids, unpadded, special tokens included."""

    ids: list[int]
    type_ids: list[int]
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The tokens around a text that is written.

    `starts` is what the decoder beside an encoder is given before the first token, empty for a language model; one
    of `ends` says that the text is over; `never` are not to be written.
    """

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    never: tuple[int, ...] = ()


UNMARKED = Marks()  # of models that write nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A tokenizer with a length limit and a way to pad; `marks` are those of texts that the model writes."""

    tokenizer: Tokenizer
    max_length: int
    pad_id: int
    padding_side: str = "right"
    marks: Marks = UNMARKED
    _uncut: list[Tokenizer] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def uncut(self) -> Tokenizer:
        """The tokenizer without a limit: a copy, for threads share the encoder's own, made when it is first needed."""
        if not self._uncut:
            copy = Tokenizer.from_str(self.tokenizer.to_str())
            copy.no_truncation()
            self._uncut.append(copy)
        return self._uncut[0]

    @classmethod
    def from_file(
        cls, path: Path, *, max_length: int, pad_id: int, padding_side: str = "right", marks: Marks = UNMARKED
    ) -> "Encoder":
        """The encoder over a tokenizer.json.

        Raises:
            BundleError: The file is not a tokenizer.
        """
        tokenizer = open_tokenizer(path)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        return cls(tokenizer=tokenizer, max_length=max_length, pad_id=pad_id, padding_side=padding_side, marks=marks)

    def encode(self, text: TextInput) -> Encoded:
        """One input as ids, cut to max_length tokens."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[TextInput], *, places: bool = False) -> list[Encoded]:
        """Every input as ids; several at a time where there are cores.

        Args:
            texts: Texts or pairs.
            places: Whether to say where each token stands.
        """
        pairs = [self._shortened(text) for text in texts]
        plain = [first if second is None else (first, second) for first, second in pairs]
        if not places:
            return [Encoded(one.ids, one.type_ids) for one in self.tokenizer.encode_batch_fast(plain)]
        found = self.tokenizer.encode_batch(plain)
        return [Encoded(one.ids, one.type_ids, Places(one.offsets, one.word_ids, one.sequence_ids)) for one in found]

    def _shortened(self, text: TextInput) -> tuple[str, str | None]:
        limit = self.max_length * CHARACTERS_PER_TOKEN
        first, second = (text, None) if isinstance(text, str) else text
        return utf8(first[:limit]), None if second is None else utf8(second[:limit])

    def collate(self, encoded: Sequence[Encoded], *, input_names: Sequence[str]) -> Batch:
        """Arrays [B, S] of the names that a model takes, padded to the longest input.

        A text without any token is one padding token, alone and among others, for models read one at least.
        """
        return {name: _padded(encoded, name, self) for name in input_names}


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json.

    Raises:
        BundleError: The file is not a tokenizer.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception, for a missing file and a broken one alike
        raise BundleError(f"{path} is not a tokenizer: {error}", hint="save the tokenizer again") from error


def utf8(text: str) -> str:
    """The text with a question mark for each lone surrogate: no character, and no tokenizer or server takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _padded(encoded: Sequence[Encoded], name: str, encoder: Encoder) -> NDArray[np.int64]:
    if len(encoded) == 1:  # the common way of a server
        return np.array([_values(encoded[0], name, encoder.pad_id)], dtype=np.int64)
    longest = max(1, *(len(one) for one in encoded))
    out = np.full((len(encoded), longest), encoder.pad_id if name == "input_ids" else 0, dtype=np.int64)
    for row, one in enumerate(encoded):
        values = _values(one, name, encoder.pad_id)
        if encoder.padding_side == "right":
            out[row, : len(values)] = values
        else:
            out[row, longest - len(values) :] = values
    return out


def _values(one: Encoded, name: str, pad_id: int) -> list[int]:
    if name == "attention_mask":
        return [1] * (len(one) or 1)
    return (one.ids or [pad_id]) if name == "input_ids" else (one.type_ids or [0])


def unpadded(
    values: NDArray[np.float32], encoded: Sequence[Encoded], *, padding_side: str = "right"
) -> list[NDArray[np.float32]]:
    """What a model said of the tokens of a batch, [B, S, C], without padding: [n, C] each."""
    if padding_side == "right":
        return [row[: len(one)] for row, one in zip(values, encoded, strict=True)]
    return [row[len(row) - len(one) :] for row, one in zip(values, encoded, strict=True)]


def batches_by_length(lengths: Sequence[int], *, token_budget: int) -> Iterator[list[int]]:
    """Row numbers in batches of like length; rows × longest row stays within the budget.

    Longest first, so that the largest batch comes at once and memory does not creep up.
    A row longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batch: list[int] = []
    for row in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
