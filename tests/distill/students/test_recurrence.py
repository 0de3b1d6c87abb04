"""An LSTM on a CPU learns from sequences as torch's packed ones say, without their price."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kd_deploy.distill.students.recurrence import read_both_ways

Read = tuple[Tensor, Tensor, Tensor]


def _lstm(layers: int) -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(6, 4, num_layers=layers, bidirectional=True, batch_first=True).double()


def _packed(lstm: nn.LSTM, vectors: Tensor, lengths: Tensor) -> Read:
    states, (hidden, cell) = lstm(pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(states, batch_first=True, total_length=vectors.shape[1])[0], hidden, cell


def _gradients(lstm: nn.LSTM, vectors: Tensor, read: Read) -> list[Tensor]:
    # Of all that is given back, each number with a weight of its own.
    lots = torch.Generator().manual_seed(1)
    losses = [(torch.tanh(one) * torch.randn(one.shape, generator=lots, dtype=one.dtype)).sum() for one in read]
    return list(torch.autograd.grad(losses, [vectors, *lstm.parameters()]))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [1, 7, 4], [5, 1, 2]], ids=["alike", "unlike", "all shorter"])
def test_states_and_gradients_are_those_of_packed_sequences(layers: int, lengths: list[int]) -> None:
    lstm, own = _lstm(layers), torch.tensor(lengths)
    vectors = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True)
    expected, found = _packed(lstm, vectors, own), read_both_ways(lstm, vectors, own)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    pairs = zip(_gradients(lstm, vectors, found), _gradients(lstm, vectors, expected), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_what_stands_at_padding_is_not_read() -> None:
    lstm, own = _lstm(2), torch.tensor([3, 5])
    vectors = torch.randn(2, 5, 6, dtype=torch.float64)
    other = vectors.clone()
    other[0, 3:] = 50.0
    for one, two in zip(read_both_ways(lstm, vectors, own), read_both_ways(lstm, other, own), strict=True):
        assert torch.equal(one, two)


def test_without_a_gradient_it_is_the_packed_sequence() -> None:
    lstm, own = _lstm(2), torch.tensor([3, 2])
    vectors = torch.randn(2, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        found, expected = read_both_ways(lstm, vectors, own), _packed(lstm, vectors, own)
    assert found[0].shape == (2, 3, 8)
    for one, other in zip(found, (expected[0][:, :3], *expected[1:]), strict=True):
        assert torch.equal(one, other)


def test_dropout_lies_between_layers_and_only_in_training() -> None:
    lstm, own = _lstm(2), torch.tensor([4, 4])
    lstm.dropout = 0.5
    vectors = torch.randn(2, 4, 6, dtype=torch.float64)
    first, second = (read_both_ways(lstm, vectors, own)[0] for _ in range(2))
    assert not torch.equal(first, second)
    lstm.eval()
    first, second = (read_both_ways(lstm, vectors, own)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_in_half_precision_it_is_finite_and_near() -> None:
    lstm, own = _lstm(2).float(), torch.tensor([9, 30])
    vectors = torch.randn(2, 30, 6, requires_grad=True)
    expected = _packed(lstm, vectors, own)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = read_both_ways(lstm, vectors, own)[0]
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)
    gradients = torch.autograd.grad(found.float().sum(), [vectors, *lstm.parameters()])
    assert all(torch.isfinite(one).all() for one in gradients)
