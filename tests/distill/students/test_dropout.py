"""Dropout of a transformer student: every rate of its family, and none where the recipe says nothing."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.dropout import rates_in, set_dropout
from kd_deploy.recipe import TransformerStudent
from tests import tiny

CONFIGS = {
    "bert": transformers.BertConfig(classifier_dropout=0.3),
    "distilbert": transformers.DistilBertConfig(),
    "gpt2": transformers.GPT2Config(),
    "t5": transformers.T5Config(),
    "bart": transformers.BartConfig(decoder_layerdrop=0.2),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_all_rates_of_a_family_are_one_and_nothing_else_is_touched(kind: str) -> None:
    config = CONFIGS[kind].__class__.from_dict(CONFIGS[kind].to_dict())
    before = config.to_dict()
    set_dropout(config, None)
    assert config.to_dict() == before

    set_dropout(config, 0.25)

    after = config.to_dict()
    changed = {name for name in before if before[name] != after[name]}
    assert set(rates_in(after).values()) == {0.25}
    assert changed
    assert all("dropout" in name or name.endswith("pdrop") for name in changed)
    assert not any("layerdrop" in name for name in changed)


def rates_of(model: nn.Module) -> set[float]:
    return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_student_has_the_rate_that_was_asked_for(checkpoint: Path, from_checkpoint: bool) -> None:
    init = str(checkpoint) if from_checkpoint else "teacher"
    depth = None if from_checkpoint else 1
    settings = TransformerStudent(layers=depth, init=init, dropout=0.4)
    teacher = load_model(checkpoint)

    student = build_student(settings, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)

    assert rates_of(student) == {0.4}
    assert 0.4 not in rates_of(teacher)
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        student.eval()
        still = student(input_ids=ids).logits
        student.train()
        assert not torch.equal(student(input_ids=ids).logits, still)
