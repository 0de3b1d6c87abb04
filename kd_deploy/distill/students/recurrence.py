"""How an LSTM reads texts of unlike lengths in both directions, in training too in time that grows as they do."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SHUT = 1e4  # a gate that hears this is shut or open to the last bit


def read_both_ways(lstm: nn.LSTM, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The states of sequences that begin on the left, as if each had been read without its padding.

    Args:
        lstm: Bidirectional, batch first, with biases.
        vectors: What it reads, [B, S, E]; at padding finite.
        lengths: How many of the S are each sequence's own, [B], at least 1.

    Returns:
        The last layer's states [B, S', 2H], zeros at padding, where S' is S or the longest of the lengths; the last
        hidden states and the last cells of every layer and direction, [2L, B, H] each.
    """
    # On a CPU the gradient of packed sequences takes time that grows with the square of their length.
    if torch.is_grad_enabled() and vectors.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        return _read_frozen(lstm, vectors, lengths)
    packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, (hidden, cell) = lstm(packed)
    return pad_packed_sequence(states, batch_first=True)[0], hidden, cell


def _read_frozen(lstm: nn.LSTM, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # One more input is 1 at padding alone; there its weights shut the input gates and open the forget gates, so that
    # cells stay as they are: those of the forward direction after the last token, those of the other zero before it.
    rows, steps, _ = vectors.shape
    padding = (torch.arange(steps)[None, :] >= lengths[:, None]).to(vectors.dtype)[:, :, None]  # [B, S, 1]
    input_gates, forget_gates = (vectors.new_full((lstm.hidden_size, 1), value) for value in (-SHUT, SHUT))
    others = vectors.new_zeros(2 * lstm.hidden_size, 1)
    frozen = torch.cat([input_gates, forget_gates, others])  # [4H, 1]
    zeros = vectors.new_zeros(2, rows, lstm.hidden_size)
    last_row, last_step = torch.arange(rows), lengths - 1
    read, hidden, cells = vectors, [], []
    for layer in range(lstm.num_layers):
        if layer > 0:
            read = F.dropout(read, lstm.dropout, lstm.training)
        weights = [
            one
            for inputs, states, *biases in lstm.all_weights[2 * layer : 2 * layer + 2]
            for one in (torch.cat([inputs, frozen], dim=1), states, *biases)
        ]
        told = torch.cat([read, padding.to(read.dtype)], dim=-1)  # [B, S, E + 1]
        read, _, cell = torch.lstm(told, (zeros, zeros), weights, True, 1, 0.0, lstm.training, True, True)
        cells.append(cell)
        forward, backward = read.chunk(2, dim=-1)
        hidden.append(torch.stack([forward[last_row, last_step], backward[:, 0]]))
    return read * (1 - padding.to(read.dtype)), torch.cat(hidden), torch.cat(cells)
