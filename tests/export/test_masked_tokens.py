"""The vocabulary for masks alone: the same logits there from fewer operations, nothing elsewhere."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from torch import nn

from kd_deploy.distill.torch_runner import TorchRunner
from kd_deploy.export import parity
from kd_deploy.export.graph import export_graph
from kd_deploy.export.kept_tokens import KEPT
from kd_deploy.export.masked_tokens import keep_masked_tokens
from kd_deploy.export.norms import vectorise_norms
from kd_deploy.export.quantize import PLANS, fuse, quantize
from kd_deploy.runner import Batch
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks import fill_mask
from kd_deploy.tasks.heads import Head
from kd_deploy.tasks.task import LabelSpace

WORDS, MASK, ROOM = 211, 4, 24
SHAPES = parity.Shapes(vocabulary_size=WORDS, max_length=ROOM, pad_id=0, mask_id=MASK)
LABELS = LabelSpace(task="fill-mask", names=(), problem_type="single_label_classification")
WIDTHS = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 2}
MODELS = {
    "bert": transformers.BertConfig(vocab_size=WORDS, max_position_embeddings=ROOM, **WIDTHS),
    "roberta": transformers.RobertaConfig(
        vocab_size=WORDS, max_position_embeddings=ROOM + 1, pad_token_id=0, type_vocab_size=1, **WIDTHS
    ),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=WORDS, max_position_embeddings=ROOM, dim=32, n_heads=4, hidden_dim=48, n_layers=2
    ),
    "electra": transformers.ElectraConfig(vocab_size=WORDS, max_position_embeddings=ROOM, embedding_size=16, **WIDTHS),
}


def drawn(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(MODELS[kind], attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def runner_of(model: nn.Module) -> TorchRunner:
    return TorchRunner(model, heads={"": Head(output="logits", labels=LABELS)})


def exported(model: nn.Module, path: Path) -> Path:
    export_graph(model, path, task=fill_mask, inputs=runner_of(model).input_names, opset=17, checkpoint=path.parent)
    return path


def batch_of(ids: list[list[int]]) -> Batch:
    array = np.array(ids, dtype=np.int64)
    return {"input_ids": array, "attention_mask": np.ones_like(array), "token_type_ids": np.zeros_like(array)}


@pytest.mark.parametrize("kind", MODELS)
def test_logits_of_masks_stay_the_same_over_shapes_and_paddings(kind: str, tmp_path: Path) -> None:
    model = drawn(kind)
    graph = onnx.load(exported(model, tmp_path / "plain.onnx"))

    moved = keep_masked_tokens(graph, mask_id=MASK)

    onnx.save(graph, tmp_path / "short.onnx")
    onnx.checker.check_model(tmp_path / "short.onnx")
    found = parity.compare(runner_of(model), OrtRunner(tmp_path / "short.onnx"), SHAPES, of_tokens={"logits"})
    assert moved >= 10  # the head, and of the last layer all that comes after the attention
    assert 0 < found.max_abs_error < parity.TOLERANCE


def test_other_tokens_have_none_and_a_batch_without_masks_has_nothing(tmp_path: Path) -> None:
    model = drawn("bert")
    graph = onnx.load(exported(model, tmp_path / "plain.onnx"))
    keep_masked_tokens(graph, mask_id=MASK)
    onnx.save(graph, tmp_path / "short.onnx")
    short = OrtRunner(tmp_path / "short.onnx")

    with_one, without = batch_of([[2, MASK, 7], [8, 9, 3]]), batch_of([[2, 6, 3]])
    logits = short.run({name: with_one[name] for name in short.input_names})["logits"]
    assert np.abs(logits[0, 1]).min() > 0
    logits[0, 1] = 0
    assert not logits.any()
    assert logits.shape == (2, 3, WORDS)
    nothing = short.run({name: without[name] for name in short.input_names})["logits"]
    assert nothing.shape == (1, 3, WORDS)
    assert not nothing.any()


def test_int8_of_the_fused_graph_follows_torch(tmp_path: Path) -> None:
    model = drawn("bert")
    fused, short, int8 = (tmp_path / f"{name}.onnx" for name in ("fused", "short", "int8"))
    assert fuse(exported(model, tmp_path / "plain.onnx"), fused, model_type="bert", heads=4, width=32)
    graph = onnx.load(fused)
    assert keep_masked_tokens(graph, mask_id=MASK) >= 8
    vectorise_norms(graph)
    onnx.save(graph, short)

    made = quantize(short, int8, plan=PLANS[0], reduce_range=False)
    spared = quantize(short, tmp_path / "careful.onnx", plan=PLANS[-1], reduce_range=False)

    assert parity.compare(runner_of(model), OrtRunner(short), SHAPES, of_tokens={"logits"}).max_abs_error < 1e-3
    rough = parity.compare(runner_of(model), OrtRunner(int8), SHAPES, of_tokens={"logits"}).max_abs_error
    assert 1e-3 < rough < 5
    assert spared.operators["MatMul"] < made.operators["MatMul"]  # the head is still found, behind what places it
    nothing = batch_of([[2, 6, 3]])
    assert not OrtRunner(int8).run({name: nothing[name] for name in OrtRunner(int8).input_names})["logits"].any()


def test_a_head_that_mixes_tokens_is_left_as_it_was(tmp_path: Path) -> None:
    graph = onnx.load(exported(drawn("bert"), tmp_path / "plain.onnx"))
    last = next(node for node in graph.graph.node if "logits" in node.output)
    last.op_type = "CumSum"
    before = graph.SerializeToString()

    assert keep_masked_tokens(graph, mask_id=MASK) == 0
    assert graph.SerializeToString() == before


def test_the_masks_are_chosen_at_the_attention_and_at_its_residual(tmp_path: Path) -> None:
    graph = onnx.load(exported(drawn("bert"), tmp_path / "plain.onnx"))
    keep_masked_tokens(graph, mask_id=MASK)

    chosen = [node for node in graph.graph.node if KEPT in node.input and node.op_type == "GatherND"]
    assert len(chosen) == 2  # what the attention gives, and the residual beside it
