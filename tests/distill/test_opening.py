"""A checkpoint in torch as its users have it."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from kd_deploy.distill.checkpoints import labels_of, load_model
from kd_deploy.distill.conditional_mlm import open_teacher
from kd_deploy.distill.opening import with_usual_attention
from tests import tiny


def test_any_masked_language_model_gives_vectors(tmp_path: Path) -> None:
    folder = tiny.write_checkpoint(tmp_path / "bert", tiny.single_label(32, seed=0), trained=False)
    filling = BertForMaskedLM(BertConfig.from_pretrained(folder)).eval()
    filling.save_pretrained(folder)
    labels = labels_of(folder, "sentence-embedding")
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}

    assert labels is not None
    teacher = open_teacher(folder, labels)

    with torch.no_grad():
        mean = filling.bert(**batch).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(teacher(**batch).logits, torch.nn.functional.normalize(mean))


def test_a_model_that_is_timed_has_the_attention_that_transformers_takes(checkpoint: Path) -> None:
    plain, usual = load_model(checkpoint), with_usual_attention(load_model(checkpoint))
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]])}
    batch["attention_mask"] = (batch["input_ids"] != 0).long()

    assert isinstance(plain, PreTrainedModel)
    assert isinstance(usual, PreTrainedModel)
    assert (plain.config._attn_implementation, usual.config._attn_implementation) == ("eager", "sdpa")
    with torch.no_grad():
        torch.testing.assert_close(usual(**batch).logits, plain(**batch).logits, atol=1e-5, rtol=1e-4)
