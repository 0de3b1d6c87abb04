"""The BiLSTM student: word vectors, one or more bidirectional LSTM layers, and a small head.

The head decides about the text, about each token, or where the answer to a question begins and ends.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput

from kd_deploy.distill.students.recurrence import read_both_ways

MODEL_TYPE = "kd-bilstm"
PARTS = {"text": 2, "token": 1, "span": 3}  # how many vectors as wide as a state the head takes side by side
FEATURE_STD = 0.02  # below the word vectors of encoders, which the features of a pair are added to
LOW = -1e4  # far below any score, and finite in half precision too


@dataclass(frozen=True, slots=True, kw_only=True)
class BilstmConfig:
    """The sizes of a BiLSTM student, as its config.json holds them.

    The head "span" has two logits for each token, whatever num_labels says.
    """

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    head_size: int
    num_labels: int
    pad_token_id: int
    dropout: float = 0.3
    head: Literal["text", "token", "span"] = "text"

    def to_dict(self) -> dict[str, int | float | str]:
        """The sizes as JSON holds them."""
        return asdict(self)


class Bilstm(nn.Module):
    """Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks".

    arXiv 1903.12136, with the maximum and the mean over time in place of the last states. Padding on either
    side changes nothing: a sequence is moved to the left before it is packed.

    For spans it reads question and context as one sequence. Each token is told beforehand which text it is of and
    whether the other has it too, and looks afterwards at the states of the question.
    """

    def __init__(self, config: BilstmConfig) -> None:
        """Random weights of the sizes in `config`."""
        super().__init__()
        self.sizes = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.pair = PairFeatures(config.embedding_size) if config.head == "span" else None
        self.lstm = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.num_layers,
            bidirectional=True,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(PARTS[config.head] * 2 * config.hidden_size, config.head_size)
        self.classifier = nn.Linear(config.head_size, 2 if config.head == "span" else config.num_labels)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The arrays that its forward takes."""
        names = ("input_ids", "attention_mask")
        return names if self.pair is None else (*names, "token_type_ids")

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput | TokenClassifierOutput | QuestionAnsweringModelOutput:
        """Logits of token ids [B, S] under a mask [B, S] of ones and zeros.

        Args:
            input_ids: [B, S].
            attention_mask: [B, S].
            token_type_ids: For spans alone, [B, S]: 0 in the question, 1 in the context.

        Returns:
            Logits [B, C] of texts, [B, S, C] of tokens, or `start_logits` and `end_logits` [B, S]. With them, as a
            transformer's `hidden_states`: the word vectors [B, S, E] and the last layer's states [B, S, 2H], both
            where `input_ids` has their tokens; at padding they mean nothing.

        Raises:
            ValueError: Spans are to be found, and nothing says which text a token is of.
        """
        # An all-zero row counts as one token of padding: a packed sequence may not be empty.
        lengths = attention_mask.sum(dim=1).clamp(min=1)  # [B]
        width = torch.ones_like(attention_mask).sum(dim=1)  # [B], the S of this batch; stays dynamic in a traced graph
        offset = (width - lengths) * (1 - attention_mask[:, 0])  # [B], how much padding stands on the left
        position = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1 + offset[:, None]  # [B, S]
        place = position % width[:, None]  # [B, S], where the token stands that comes to stand here
        segments = None if token_type_ids is None else token_type_ids.gather(1, place)
        vectors = self._vectors(input_ids.gather(1, place), attention_mask.gather(1, place), segments)
        vectors = self.dropout(vectors)  # [B, S, E]
        states, _, _ = read_both_ways(self.lstm, vectors, lengths)  # [B, S, 2H]
        shown = tuple(_moved_back(one, offset, width=input_ids.shape[1]) for one in (vectors, states))
        if self.sizes.head == "text":
            return SequenceClassifierOutput(logits=self._decide(_pooled(states, lengths)), hidden_states=shown)
        if self.sizes.head == "token":
            return TokenClassifierOutput(logits=self._decide(shown[1]), hidden_states=shown)
        seen = _beside_question(shown[1], attention_mask * (token_type_ids == 0))  # [B, S, 6H]
        start, end = self._decide(seen).unbind(dim=-1)  # [B, S] each
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end, hidden_states=shown)

    def _vectors(self, ids: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
        vectors: Tensor = self.embedding(ids)
        if self.pair is None:
            return vectors
        if segments is None:
            raise ValueError("a BiLSTM that finds spans needs token_type_ids")
        told: Tensor = self.pair(ids, mask, segments)
        return vectors + told

    def _decide(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(torch.relu(self.head(features))))
        return logits


class PairFeatures(nn.Module):
    """What each token of a pair of texts is told: which text it is of, and whether the other has the same token."""

    def __init__(self, size: int) -> None:
        """Small random vectors of `size` numbers."""
        super().__init__()
        self.segments = nn.Embedding(2, size)
        self.shared = nn.Embedding(2, size)
        for table in (self.segments, self.shared):
            nn.init.normal_(table.weight, std=FEATURE_STD)

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """Vectors [B, S, E] to add to those of the words; the arguments are [B, S] each."""
        same = ids[:, :, None] == ids[:, None, :]  # [B, S, S]
        elsewhere = segments[:, :, None] != segments[:, None, :]
        found = (same & elsewhere & (mask[:, None, :] == 1)).any(dim=2)  # [B, S]
        vectors: Tensor = self.segments(segments) + self.shared(found.long())
        return vectors


def _pooled(states: Tensor, lengths: Tensor) -> Tensor:
    # The maximum and the mean [B, 4H] of states [B, S, 2H] that begin on the left.
    places = torch.arange(states.shape[1], device=lengths.device)[None, :, None]
    inside = (places < lengths[:, None, None]).to(states.dtype)  # [B, S, 1]
    # Products and sums: onnxruntime is slower at choosing between two arrays.
    kept = states * inside
    highest = (kept + (inside - 1)).amax(dim=1)  # [B, 2H]; LSTM states lie in (-1, 1)
    mean = kept.sum(dim=1) / lengths[:, None]  # [B, 2H]
    return torch.cat([highest, mean], dim=-1)


def _beside_question(states: Tensor, question: Tensor) -> Tensor:
    # States [B, S, 2H], what each sees among those where `question` [B, S] is 1, and the product of the two.
    inside = question[:, None, :]  # [B, 1, S]
    scores = states @ states.transpose(1, 2) / math.sqrt(states.shape[2])  # [B, S, S]
    # The product leaves nothing of padding where there is no question at all.
    shares = scores.masked_fill(inside == 0, LOW).softmax(dim=-1) * inside
    seen = shares @ states
    return torch.cat([states, seen, states * seen], dim=-1)


def _moved_back(values: Tensor, offset: Tensor, *, width: int) -> Tensor:
    # The states may end with the longest text of the batch: fill them up before they move.
    whole = F.pad(values, (0, 0, 0, width - values.shape[1]))  # [B, S, D]
    position = (torch.arange(width, device=offset.device) - offset[:, None]) % width  # [B, S]
    return whole.gather(1, position[:, :, None].expand_as(whole))
