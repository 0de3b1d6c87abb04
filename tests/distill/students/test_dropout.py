"""Dropout of a transformer student: every rate of its family, and none where the recipe says nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.dropout import rates_in, rates_of, set_dropout
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


def drops(model: nn.Module) -> set[float]:
    return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}


def test_a_checkpoint_that_names_no_rate_takes_the_one_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    bare = {name: value for name, value in config.items() if "drop" not in name}
    (folder / "config.json").write_text(json.dumps(bare), encoding="utf-8")

    assert drops(load_model(folder, dropout=0.4)) == {0.4}


def test_a_rate_of_a_head_that_a_model_has_not_is_none_of_its_rates() -> None:
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.GPTNeoXConfig(vocab_size=50, **sizes)  # classifier_dropout 0.1, all others 0

    assert any(rates_in(config.to_dict()).values())
    assert not any(rates_of(transformers.GPTNeoXForCausalLM(config)))


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_student_has_the_rate_that_was_asked_for(checkpoint: Path, from_checkpoint: bool) -> None:
    init = str(checkpoint) if from_checkpoint else "teacher"
    depth = None if from_checkpoint else 1
    settings = TransformerStudent(layers=depth, init=init, dropout=0.4)
    teacher = load_model(checkpoint)

    student = build_student(settings, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)

    assert drops(student) == {0.4}
    assert 0.4 not in drops(teacher)
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        student.eval()
        still = student(input_ids=ids).logits
        student.train()
        assert not torch.equal(student(input_ids=ids).logits, still)
