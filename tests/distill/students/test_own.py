"""Our own students' config.json: what it says of the head, and files from before there was one."""

import json
from typing import Any

import pytest
import torch

from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.students.own import OwnStudent, own_config, own_student
from kd_deploy.distill.students.static import Static, StaticConfig

SHARED = {"vocab_size": 9, "embedding_size": 4, "head_size": 5, "num_labels": 3, "pad_token_id": 0}
OLD = {
    "kd-bilstm": {**SHARED, "hidden_size": 6, "num_layers": 1, "dropout": 0.1},
    "kd-static": {**SHARED, "bigrams": 7, "bigram_size": 2, "dropout": 0.1},
}  # what such a file held of sizes before students had heads


def students() -> list[tuple[OwnStudent, str]]:
    bilstm: dict[str, Any] = OLD["kd-bilstm"]
    static: dict[str, Any] = OLD["kd-static"]
    return [
        (Bilstm(BilstmConfig(**bilstm)), "BilstmForSequenceClassification"),
        (Bilstm(BilstmConfig(**bilstm, head="token")), "BilstmForTokenClassification"),
        (Bilstm(BilstmConfig(**bilstm, head="span")), "BilstmForQuestionAnswering"),
        (Static(StaticConfig(**static)), "StaticForSequenceClassification"),
        (Static(StaticConfig(**static, head="vector")), "StaticModel"),
    ]


@pytest.mark.parametrize(("student", "name"), students(), ids=lambda one: one if isinstance(one, str) else "")
def test_a_config_gives_back_its_student(student: OwnStudent, name: str) -> None:
    config = json.loads(json.dumps(own_config(student)))

    again = own_student({**config, "id2label": {"0": "a"}})

    assert config["architectures"] == [name]
    assert again.sizes == student.sizes
    again.load_state_dict(student.state_dict())


@pytest.mark.parametrize(("model_type", "kind"), [("kd-bilstm", Bilstm), ("kd-static", Static)])
def test_a_config_without_a_head_is_a_classifiers(model_type: str, kind: type[OwnStudent]) -> None:
    torch.manual_seed(0)

    made = own_student({"model_type": model_type, **OLD[model_type]})

    assert isinstance(made, kind)
    assert made.sizes.head == "text"
    assert {"head.weight", "classifier.weight"} < set(made.state_dict())


@pytest.mark.parametrize("model_type", OLD)
def test_a_head_that_the_kind_has_not_is_refused(model_type: str) -> None:
    with pytest.raises(KeyError, match="has the head 'tree'"):
        own_student({"model_type": model_type, **OLD[model_type], "head": "tree"})


@pytest.mark.parametrize("model_type", OLD)
def test_a_config_that_lacks_a_size_is_refused(model_type: str) -> None:
    config: dict[str, Any] = {"model_type": model_type, **OLD[model_type]}
    del config["head_size"]

    with pytest.raises(KeyError, match="head_size"):
        own_student(config)
