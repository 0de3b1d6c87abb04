"""The BiLSTM student: word vectors, one or more bidirectional LSTM layers, pooling, a small head."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.modeling_outputs import SequenceClassifierOutput

MODEL_TYPE = "kd-bilstm"


@dataclass(frozen=True, slots=True, kw_only=True)
class BilstmConfig:
    """The sizes of a BiLSTM student, as its config.json holds them."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    head_size: int
    num_labels: int
    pad_token_id: int
    dropout: float = 0.3

    def to_dict(self) -> dict[str, int | float]:
        """The sizes as JSON holds them."""
        return asdict(self)


class Bilstm(nn.Module):
    """Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks".

    arXiv 1903.12136, with the maximum and the mean over time in place of the last states. Padding on either
    side changes nothing: a sequence is moved to the left before it is packed.
    """

    def __init__(self, config: BilstmConfig) -> None:
        """Random weights of the sizes in `config`."""
        super().__init__()
        self.sizes = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.lstm = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.num_layers,
            bidirectional=True,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(4 * config.hidden_size, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits [B, C] of token ids [B, S] under a mask [B, S] of ones and zeros.

        Returns:
            With them, as a transformer's `hidden_states`: the word vectors [B, S, E] and the last layer's states
            [B, S, 2H], both where `input_ids` has their tokens; at padding they mean nothing.
        """
        # An all-zero row counts as one token of padding: a packed sequence may not be empty.
        lengths = attention_mask.sum(dim=1).clamp(min=1)  # [B]
        width = torch.ones_like(attention_mask).sum(dim=1)  # [B], the S of this batch; stays dynamic in a traced graph
        offset = (width - lengths) * (1 - attention_mask[:, 0])  # [B], how much padding stands on the left
        position = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1 + offset[:, None]  # [B, S]
        ids = input_ids.gather(1, position % width[:, None])  # [B, S]
        vectors = self.dropout(self.embedding(ids))  # [B, S, E]
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # [B, S, 2H]
        inside = torch.arange(states.shape[1], device=lengths.device)[None, :, None] < lengths[:, None, None]
        highest = states.masked_fill(~inside, -1.0).amax(dim=1)  # [B, 2H]; LSTM states lie in (-1, 1)
        mean = states.masked_fill(~inside, 0.0).sum(dim=1) / lengths[:, None]  # [B, 2H]
        hidden = torch.relu(self.head(torch.cat([highest, mean], dim=-1)))  # [B, head]
        logits = self.classifier(self.dropout(hidden))
        shown = tuple(_moved_back(one, offset, width=input_ids.shape[1]) for one in (vectors, states))
        return SequenceClassifierOutput(logits=logits, hidden_states=shown)


def _moved_back(values: Tensor, offset: Tensor, *, width: int) -> Tensor:
    # The packed sequence ended with the longest text of the batch: fill it up before it moves.
    whole = F.pad(values, (0, 0, 0, width - values.shape[1]))  # [B, S, D]
    position = (torch.arange(width, device=offset.device) - offset[:, None]) % width  # [B, S]
    return whole.gather(1, position[:, :, None].expand_as(whole))
