"""What models show of themselves: the same numbers that the library gives, under our names."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.objectives.attention import attention_scores
from kd_deploy.distill.observe import observe, shape_of
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from tests import tiny

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
ARRAYS = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 24, "vocab_size": 50}
FAMILIES = ("bert", "roberta", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert")
PLAIN = ("bert", "roberta", "electra", "distilbert")


def transformer(family: str) -> nn.Module:
    names = {"dim": 16, "n_heads": 2, "n_layers": 3, "hidden_dim": 24, "vocab_size": 50}
    sizes = names if family == "distilbert" else SIZES | {"pad_token_id": 0}
    if family == "deberta-v2":
        sizes |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    config = AutoConfig.for_model(family, **sizes)
    torch.manual_seed(0)
    model: nn.Module = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    return model.eval()


def bilstm() -> Bilstm:
    sizes = {"vocab_size": 50, "embedding_size": 6, "hidden_size": 4, "num_layers": 1, "head_size": 8, "num_labels": 2}
    return Bilstm(BilstmConfig(**sizes, pad_token_id=0)).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_those_of_the_library(family: str) -> None:
    model = transformer(family)

    shown = observe(model, ARRAYS, names=("embedding", "hidden.0", "hidden.2"))

    given = model(**ARRAYS, output_hidden_states=True)
    assert_close(shown["logits"], given.logits)
    assert_close(shown["embedding"], given.hidden_states[0])
    assert_close(shown["hidden.0"], given.hidden_states[1])
    assert_close(shown["hidden.2"], given.hidden_states[3])
    shape = shape_of(model)
    assert (shape.depth, shape.width, shape.embedding_width) == (3, 16, 16)


@pytest.mark.parametrize("family", PLAIN)
def test_queries_and_keys_make_the_attention_of_the_library(family: str) -> None:
    model = transformer(family)

    shown = observe(model, ARRAYS, names=("query.1", "key.1"))

    given = model(**ARRAYS, output_attentions=True).attentions[1]
    scores = attention_scores(shown["query.1"], shown["key.1"], heads=2)
    hidden = (1 - ARRAYS["attention_mask"])[:, None, None, :].bool()
    assert_close(scores.masked_fill(hidden, float("-inf")).softmax(dim=-1), given)
    assert shape_of(model).heads == 2


@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in PLAIN])
def test_attention_with_positions_mixed_in_is_not_taken_for_plain(family: str) -> None:
    assert shape_of(transformer(family)).heads is None


def test_a_bilstm_shows_its_vectors_and_its_states() -> None:
    model = bilstm()

    shown = observe(model, ARRAYS, names=("embedding", "hidden.0"))

    assert shown["embedding"].shape == (2, 4, 6)
    assert shown["hidden.0"].shape == (2, 4, 8)
    shape = shape_of(model)
    assert (shape.depth, shape.width, shape.embedding_width, shape.heads) == (1, 8, 6, None)


def test_nothing_is_left_hanging_on_the_model(checkpoint: Path) -> None:
    model = load_model(checkpoint)

    observe(model, ARRAYS, names=("value.0",))

    assert not any(module._forward_hooks for module in model.modules())


def test_the_shape_leaves_the_mode_alone(checkpoint: Path) -> None:
    model = load_model(checkpoint).train()

    assert shape_of(model).heads == tiny.SIZES.attention_heads
    assert model.training
