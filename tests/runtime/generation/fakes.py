"""Decoders without a model, and tokenizers of a few entries: what is tested is everything around them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from kd_deploy.tasks.encoding import Encoded, Encoder, Marks
from kd_deploy.tasks.writing import Step

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<s>", "</s>")


class Chain:
    """A decoder that knows the last token alone; it counts the rows it was asked about, step by step."""

    def __init__(self, table: NDArray[np.float32], *, room: int | None = None) -> None:
        self.table = table
        self.room = room
        self.rows: list[int] = []

    def start(self, encoded: Sequence[Encoded]) -> Step:
        return self.step({}, np.array([one.ids[-1] for one in encoded], dtype=np.int64))

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:
        assert state == {} or len(state["last"]) == len(tokens)
        self.rows.append(len(tokens))
        return Step(self.table[tokens], {"last": tokens})

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:
        return {"last": state["last"][list(rows)]}

    def close(self) -> None:
        self.rows.clear()


class Script:
    """A decoder that writes the same tokens for everybody, and then the end token."""

    room = None

    def __init__(self, tokens: Sequence[int], *, vocabulary: int) -> None:
        self.tokens = [*tokens, END]
        self.vocabulary = vocabulary

    def start(self, encoded: Sequence[Encoded]) -> Step:
        return self._say({"at": 0, "rows": len(encoded)})

    def step(self, state: Mapping[str, Any], tokens: NDArray[np.int64]) -> Step:
        return self._say({"at": state["at"] + 1, "rows": len(tokens)})

    def keep(self, state: Mapping[str, Any], rows: Sequence[int]) -> Mapping[str, Any]:
        return {**state, "rows": len(rows)}

    def close(self) -> None:
        pass

    def _say(self, state: Mapping[str, Any]) -> Step:
        logits = np.zeros((state["rows"], self.vocabulary), dtype=np.float32)
        logits[:, self.tokens[state["at"]]] = 20.0
        return Step(logits, state)


def random_table(seed: int, *, vocabulary: int = 12, spread: float = 2.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)) * spread).astype(np.float32)


def words(count: int = 12) -> Tokenizer:
    """w3, w4 and so on: token 3, token 4."""
    entries = {**{name: place for place, name in enumerate(SPECIAL)}, **{f"w{k}": k for k in range(3, count)}}
    tokenizer = Tokenizer(models.WordLevel(entries))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    return tokenizer


def byte_level() -> Tokenizer:
    """A token for every byte, behind the special ones."""
    entries = {name: place for place, name in enumerate((*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    tokenizer = Tokenizer(models.BPE(entries, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    return tokenizer


def metaspace() -> Tokenizer:
    """Words with their space before them."""
    entries = {name: place for place, name in enumerate((*SPECIAL, "▁the", "▁sea", "shore", "▁", "."))}
    tokenizer = Tokenizer(models.WordLevel(entries))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    return tokenizer


def encoder_of(tokenizer: Tokenizer, *, starts: tuple[int, ...] = (), max_length: int = 64, **marks: Any) -> Encoder:
    tokenizer.enable_truncation(max_length)
    given = Marks(starts=starts, **{"ends": (END,), **marks})
    return Encoder(tokenizer=tokenizer, max_length=max_length, pad_id=PAD, marks=given)


def encoded_of(*rows: Sequence[int]) -> list[Encoded]:
    return [Encoded(list(row), [0] * len(row)) for row in rows]
