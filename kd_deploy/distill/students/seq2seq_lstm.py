"""The LSTM student that writes: an encoder over the source, and a decoder that looks back at it for every token."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import Seq2SeqLMOutput

from kd_deploy.distill.students.recurrence import read_both_ways

MODEL_TYPE, HEAD = "kd-lstm-seq2seq", "target"
LOW = -1e4  # far below any score, and finite in half precision too

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmSeq2SeqConfig:
    """The sizes of an LSTM encoder-decoder, as its config.json holds them.

    `hidden_size` is that of the decoder, and of each direction of the encoder. With `tie` the head shares the word
    vectors. With `input_feeding` the decoder is told at every token what it saw at the one before, and can no longer
    be trained on all tokens of a text at once.
    """

    vocab_size: int
    embedding_size: int
    hidden_size: int
    pad_token_id: int
    decoder_start_token_id: int
    eos_token_id: int
    encoder_layers: int = 1
    decoder_layers: int = 1
    dropout: float = 0.3
    tie: bool = True
    input_feeding: bool = False
    forced_bos_token_id: int | None = None  # said after the first mark, such as a language

    @property
    def head(self) -> str:
        """What it decides: the tokens of a target."""
        return HEAD

    def to_dict(self) -> dict[str, int | float]:
        """The sizes as JSON holds them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Read:
    # Word vectors [B, T, E], what was made of them and of the source [B, T, A], and the state after the last.
    vectors: Tensor
    attended: Tensor
    state: State


class LstmSeq2Seq(nn.Module):
    """Luong et al. 2015, "Effective approaches to attention-based neural machine translation", arXiv 1508.04025.

    Global attention with the general score; the encoder reads in both directions, and a linear map of its last
    states is where each layer of the decoder starts. Source and target share their word vectors. Padding of the
    source on either side changes nothing.

    The state of a text is `hidden` and `cell` [B, L, H], and `attended` [B, A], what the last token saw: without
    input feeding nobody reads it, and it stays the zeros that it begins with.
    """

    def __init__(self, config: LstmSeq2SeqConfig) -> None:
        """Random weights of the sizes in `config`."""
        super().__init__()
        self.sizes = config
        words, width, layers = config.embedding_size, config.hidden_size, config.decoder_layers
        self.embedding = nn.Embedding(config.vocab_size, words, padding_idx=config.pad_token_id)
        self.encoder = _lstm(words, config, layers=config.encoder_layers, bidirectional=True)
        self.first_hidden = nn.Linear(2 * width, layers * width)
        self.first_cell = nn.Linear(2 * width, layers * width)
        told = width if config.input_feeding else 0
        self.decoder = _lstm(words + told, config, layers=layers, bidirectional=False)
        self.score = nn.Linear(width, 2 * width, bias=False)
        self.attend = nn.Linear(3 * width, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        projected = config.tie and width != words
        self.project = nn.Linear(width, words, bias=False) if projected else nn.Identity()
        self.head = None if config.tie else nn.Linear(width, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self._start_words()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The arrays that its forward takes."""
        return ("input_ids", "attention_mask", "decoder_input_ids")

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Read sources [B, S] under a mask [B, S] of ones and zeros.

        Returns:
            States [B, S, 2H] where `input_ids` has their tokens, zeros at padding; and the decoder's first state.
        """
        # An all-zero row counts as one token of padding: a packed sequence may not be empty.
        lengths = attention_mask.sum(dim=1).clamp(min=1)  # [B]
        width = torch.ones_like(attention_mask).sum(dim=1)  # [B], the S of this batch; stays dynamic in a traced graph
        offset = ((width - lengths) * (1 - attention_mask[:, 0]))[:, None]  # [B, 1], padding that stands on the left
        column = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1  # [B, S]
        vectors = self.dropout(self.embedding(input_ids.gather(1, (column + offset) % width[:, None])))  # [B, S, E]
        states, hidden, cell = read_both_ways(self.encoder, vectors, lengths)  # [B, longest, 2H]; [2L, B, H] each
        states = F.pad(states, (0, 0, 0, input_ids.shape[1] - states.shape[1]))  # [B, S, 2H]
        back = (column - offset) % width[:, None]  # [B, S], where the state of the token that stands here came to stand
        states = states.gather(1, back[:, :, None].expand_as(states))
        first = {
            "hidden": torch.tanh(self.first_hidden(self.dropout(_both_directions(hidden)))),  # [B, L * H]
            "cell": self.first_cell(self.dropout(_both_directions(cell))),
        }
        first = {name: one.unflatten(1, (self.sizes.decoder_layers, -1)) for name, one in first.items()}  # [B, L, H]
        return states, {**first, "attended": torch.zeros_like(first["hidden"][:, 0])}

    def decode(
        self, ids: Tensor, states: Tensor, attention_mask: Tensor, state: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, T, V] of what follows each of the tokens [B, T], and the state after the last.

        Args:
            ids: [B, T]; the first of a text is decoder_start_token_id, and forced_bos_token_id, if any, the second.
            states: Of the source, [B, S, 2H].
            attention_mask: Of the source, [B, S].
            state: As `encode` or this gave it.
        """
        read = self._read(ids, states, attention_mask, state)
        return self._logits(read.attended), dict(read.state)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Seq2SeqLMOutput:
        """Logits [B, T, V] of what follows each token of the targets [B, T], for sources [B, S].

        With them, as a transformer's, `decoder_hidden_states`: the word vectors [B, T, E] and what the head
        sees [B, T, H]; and `encoder_last_hidden_state` [B, S, 2H].
        """
        states, first = self.encode(input_ids, attention_mask)
        read = self._read(decoder_input_ids, states, attention_mask, first)
        return Seq2SeqLMOutput(
            logits=self._logits(read.attended),
            decoder_hidden_states=(read.vectors, read.attended),
            encoder_last_hidden_state=states,
        )

    def _start_words(self) -> None:
        # Small enough for the head that shares them: its first logits are of the order of 1.
        nn.init.normal_(self.embedding.weight, std=self.sizes.embedding_size**-0.5)
        with torch.no_grad():
            self.embedding.weight[self.sizes.pad_token_id] = 0

    def _read(self, ids: Tensor, states: Tensor, mask: Tensor, state: State) -> _Read:
        vectors = self.dropout(self.embedding(ids))  # [B, T, E]
        hidden, cell = (state[name].transpose(0, 1).contiguous() for name in ("hidden", "cell"))  # [L, B, H]
        seen = state["attended"]  # [B, A]
        if self.sizes.input_feeding:
            each = []
            for one in vectors.split(1, dim=1):
                out, (hidden, cell) = self.decoder(torch.cat([one, seen[:, None]], dim=-1), (hidden, cell))
                each.append(self._attended(out, states, mask))
                seen = each[-1][:, 0]
            attended = torch.cat(each, dim=1)
        else:
            out, (hidden, cell) = self.decoder(vectors, (hidden, cell))
            attended = self._attended(out, states, mask)  # [B, T, A]
        after = {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1), "attended": seen}
        return _Read(vectors, attended, after)

    def _attended(self, out: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        inside = mask[:, None, :]  # [B, 1, S]
        scores = self.score(out) @ states.transpose(1, 2)  # [B, T, S]
        # The product leaves nothing of padding where there is no source at all.
        shares = scores.masked_fill(inside == 0, LOW).softmax(dim=-1) * inside
        joined = torch.cat([shares @ states, out], dim=-1)  # [B, T, 3H]
        return self.dropout(torch.tanh(self.attend(joined)))  # type: ignore[no-any-return]

    def _logits(self, attended: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight  # [V, E], or [V, H]
        return F.linear(self.project(attended), weight, self.bias)


def _lstm(inputs: int, config: LstmSeq2SeqConfig, *, layers: int, bidirectional: bool) -> nn.LSTM:
    lstm = nn.LSTM(
        inputs,
        config.hidden_size,
        num_layers=layers,
        bidirectional=bidirectional,
        batch_first=True,
        dropout=config.dropout if layers > 1 else 0.0,
    )
    # It remembers until it has learned what to forget (Jozefowicz et al. 2015).
    for name, bias in lstm.named_parameters():
        if name.startswith("bias_ih"):
            with torch.no_grad():
                bias[config.hidden_size : 2 * config.hidden_size] = 1.0
    return lstm


def _both_directions(last: Tensor) -> Tensor:
    # The two directions of the last layer, side by side: [2L, B, H] to [B, 2H].
    return torch.cat([last[-2], last[-1]], dim=-1)
