"""The head of a masked language model on some tokens alone, family by family."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModelForMaskedLM, BertConfig, DistilBertConfig, RobertaConfig

from kd_deploy.distill.signals import LiveTeacher
from kd_deploy.distill.vocabulary_head import only_at
from kd_deploy.tasks.task import NO_DECISION

ENTRIES, WIDTH = 40, 16
LAYERS = {"num_hidden_layers": 2, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": BertConfig(vocab_size=ENTRIES, max_position_embeddings=20, **LAYERS),
    "roberta": RobertaConfig(vocab_size=ENTRIES, max_position_embeddings=20, type_vocab_size=1, **LAYERS),
    "distilbert": DistilBertConfig(
        vocab_size=ENTRIES, max_position_embeddings=20, n_layers=2, dim=WIDTH, n_heads=2, hidden_dim=32
    ),
}
IDS = torch.tensor([[2, 9, 10, 11, 3], [2, 12, 3, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
KEPT = torch.tensor([[False, True, False, True, False], [False, True, False, False, False]])


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = AutoModelForMaskedLM.from_config(CONFIGS[request.param]).eval()
    return made


def logits(model: nn.Module) -> Tensor:
    found: Tensor = model(input_ids=IDS, attention_mask=MASK).logits
    return found


def hooks(model: nn.Module) -> int:
    return sum(len(one._forward_pre_hooks) for one in model.modules())


def test_logits_are_the_rows_of_all_logits(model: nn.Module) -> None:
    whole = logits(model)

    with only_at(model, KEPT):
        found = logits(model)

    assert found.shape == (1, 3, ENTRIES)
    assert_close(found[0], whole[KEPT])
    assert whole.shape == (2, 5, ENTRIES)
    assert len(whole[KEPT].unique(dim=0)) == 3


def test_without_a_choice_the_head_works_on_all(model: nn.Module) -> None:
    whole = logits(model)

    with only_at(model, None):
        assert hooks(model) == 0
        assert_close(logits(model), whole)


def test_no_token_is_no_logits(model: nn.Module) -> None:
    with only_at(model, torch.zeros_like(KEPT)):
        assert logits(model).shape == (1, 0, ENTRIES)


def test_afterwards_the_head_works_on_all_again(model: nn.Module) -> None:
    whole = logits(model)

    with only_at(model, KEPT):
        assert hooks(model) == 1
        logits(model)

    assert hooks(model) == 0
    assert_close(logits(model), whole)


def test_after_an_error_too(model: nn.Module) -> None:
    def fail() -> None:
        with only_at(model, KEPT):
            logits(model)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()

    assert hooks(model) == 0
    assert logits(model).shape == (2, 5, ENTRIES)


def test_gradients_are_those_of_the_rows(model: nn.Module) -> None:
    logits(model)[KEPT].square().mean().backward()
    expected = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()

    with only_at(model, KEPT):
        logits(model).square().mean().backward()

    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert_close(found[name], value, msg=name)


def test_a_live_teacher_speaks_of_hidden_tokens_alone(model: nn.Module) -> None:
    targets = torch.where(KEPT, 5, NO_DECISION)
    batch = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": torch.zeros_like(IDS), "targets": targets}

    with torch.no_grad():
        whole = logits(model)
    found = LiveTeacher(model, ("logits", "hidden.1"), chosen="fp32", narrow=True).signal(batch)

    assert_close(found["logits"].float(), whole[KEPT][None], atol=2e-3, rtol=0)
    assert found["hidden.1"].shape == (2, 5, WIDTH)
    assert hooks(model) == 0
