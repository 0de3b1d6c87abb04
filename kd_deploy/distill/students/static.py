"""The static student: a bag of word vectors. Their mean and maximum with a small head, or their mean alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from kd_deploy.distill.students.pooling import EmbeddingOutput, Pooling, pooled

MODEL_TYPE = "kd-static"
BIGRAM_PRIME = 1_000_003  # times any token id it stays far below 2⁶³
BIGRAM_STD = 0.02
SLIGHT = -20.0  # the weight of what counts for next to nothing, a share of 2e-9
LOW = -1e4  # below any word vector, and finite in half precision too


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticConfig:
    """The sizes of a static student, as its config.json holds them.

    The head "vector" has no layer: head_size, num_labels, bigrams and dropout mean nothing to it. `left_out` are the
    tokens that are no part of its vectors, those that a tokenizer puts around a text.
    """

    vocab_size: int
    embedding_size: int
    head_size: int
    num_labels: int
    pad_token_id: int
    bigrams: int = 0
    bigram_size: int = 32
    dropout: float = 0.3
    head: Literal["text", "vector"] = "text"
    left_out: Sequence[int] = ()

    def __post_init__(self) -> None:
        """JSON has lists, and equal sizes are to be equal."""
        object.__setattr__(self, "left_out", tuple(self.left_out))

    def to_dict(self) -> dict[str, int | float | str | list[int]]:
        """The sizes as JSON holds them."""
        return asdict(self) | {"left_out": list(self.left_out)}


class Static(nn.Module):
    """A model that looks every token up and runs no layer over the sequence.

    The mean is weighted by a learned number for each entry of the vocabulary, the maximum is taken in each
    dimension; both go through one hidden layer. Without bigrams the order of the tokens does not count. With
    them, each pair of neighbours has a vector in a table of hashed buckets, as in Joulin et al. 2017, "Bag of
    tricks for efficient text classification", arXiv 1607.01759, and counts as much as its second token does.
    Padding on either side changes nothing.

    The head "vector" gives the weighted mean itself, with length 1: a sentence embedding.
    """

    bigrams: nn.Embedding | None

    def __init__(self, config: StaticConfig) -> None:
        """Random weights of the sizes in `config`; every token starts with the same weight in the mean."""
        super().__init__()
        self.sizes = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.weight = nn.Embedding(config.vocab_size, 1)
        nn.init.zeros_(self.weight.weight)
        with torch.no_grad():
            self.weight.weight[list(config.left_out)] = LOW
        if config.head == "text":
            self._add_head(config)

    def _add_head(self, config: StaticConfig) -> None:
        self.bigrams = nn.Embedding(config.bigrams, config.bigram_size) if config.bigrams else None
        if self.bigrams is not None:
            nn.init.normal_(self.bigrams.weight, std=BIGRAM_STD)
        width = 2 * config.embedding_size + (config.bigram_size if config.bigrams else 0)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The arrays that its forward takes."""
        return ("input_ids", "attention_mask")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput | EmbeddingOutput:
        """Logits [B, C] of token ids [B, S] under a mask [B, S] of ones and zeros; the token vectors [B, S, E].

        Of the head "vector": sentence embeddings [B, E], and as `last_hidden_state` [B, S, E] the weighted vectors
        whose plain mean over the tokens, normalised, is the embedding.
        """
        vectors, weights = self.embedding(input_ids), self._weights(input_ids)  # [B, S, E], [B, S]
        if self.sizes.head == "vector":
            weighted = vectors * weights.exp()[:, :, None]
            vector = pooled(weighted, attention_mask, pooling=Pooling())
            return EmbeddingOutput(
                logits=vector, sentence_embedding=vector, last_hidden_state=weighted, hidden_states=(vectors,)
            )
        logits = self._classify(input_ids, vectors, weights, attention_mask.to(vectors.dtype))
        return SequenceClassifierOutput(logits=logits, hidden_states=(vectors,))

    def _weights(self, input_ids: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():  # onnxruntime takes the column when it opens the file
            return self.weight.weight[:, 0][input_ids]
        weights: Tensor = self.weight(input_ids)[:, :, 0]
        return weights

    # Few steps over arrays [B, S]: what a short text takes is what onnxruntime takes to begin each of them.
    def _classify(self, input_ids: Tensor, vectors: Tensor, weights: Tensor, inside: Tensor) -> Tensor:
        lowering = (inside - 1) * -LOW  # a sum: onnxruntime is slower at choosing between two arrays
        shares = torch.softmax(weights + lowering, dim=1)  # [B, S], zero in the padding
        parts = [(vectors + lowering[:, :, None]).amax(dim=1, keepdim=True), shares[:, None] @ vectors]  # [B, 1, E]
        if self.bigrams is not None:
            pairs = self.bigrams(bigram_buckets(input_ids, buckets=self.sizes.bigrams))  # [B, S - 1, P]
            both = inside[:, :-1] * shares[:, 1:]
            # No product here: of a single token there is no pair, and onnxruntime says anything of products of nothing.
            parts.append((pairs * both[:, :, None]).sum(dim=1, keepdim=True))
        hidden = torch.relu(self.head(self.dropout(torch.cat(parts, dim=-1).squeeze(1))))  # [B, head]
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits


def folded(model: Static) -> dict[str, Tensor]:
    """The weights of a static student with the head "vector", each word vector multiplied by how much it counts.

    Its mean is then a plain one, as other tools take it. What is left out counts just enough to give a text of nothing
    else a direction: not every tool can bring a vector of zeros to length 1.
    """
    state = dict(model.state_dict())
    table, counts = state["embedding.weight"].clone(), state["weight.weight"].exp()  # [V, E], [V, 1]
    around = list(model.sizes.left_out)
    counts[around] = 1
    left = torch.zeros_like(counts)
    left[around] = SLIGHT
    return {**state, "embedding.weight": table * counts, "weight.weight": left}


def bigram_buckets(input_ids: Tensor, *, buckets: int) -> Tensor:
    """The bucket [B, S - 1] of each pair of neighbours in token ids [B, S]."""
    return (input_ids[:, :-1] * BIGRAM_PRIME + input_ids[:, 1:]) % buckets
