"""The graphs of models that write: their contract, and the same answers as the model's."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from transformers import MistralConfig, MistralForCausalLM

from kd_deploy.bundle import LAST_LOGITS
from kd_deploy.errors import ExportError
from kd_deploy.export.generation.parity import compare_written
from kd_deploy.export.generation.replay import Graphs
from kd_deploy.export.generation.tracing import Part, write_part
from kd_deploy.export.generation.write import export_written
from kd_deploy.export.parity import TOLERANCE
from tests.export.generation.conftest import FAMILIES, PAIRS, SHAPES, SHARED, TRANSFORMERS, WIDTH, WORDS

Files = dict[str, dict[str, Path]]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_answers_like_the_model(family: str, models: dict[str, nn.Module], exported: Files) -> None:
    found = compare_written(models[family], exported[family], SHAPES)

    assert found.cases > 30
    assert found.max_abs_error < TOLERANCE, found.worst.name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_keeps_the_contract(family: str, exported: Files) -> None:
    parts = {"model"} if family in ("gpt2", "llama") else {"encoder_model", "decoder_model_merged"}

    assert set(exported[family]) == parts
    for part, path in exported[family].items():
        graph = onnx.load(path)
        onnx.checker.check_model(graph)
        assert path.name == f"{part}.onnx"
        assert {one.domain: one.version for one in graph.opset_import} == {"": 17}
        assert graph.ir_version <= 10
        assert {node.domain for node in graph.graph.node} == {""}


def axes(path: Path, *, of: str) -> dict[str, list[Any]]:
    graph = onnx.load(path).graph
    arrays = [one for one in getattr(graph, of) if one.name != LAST_LOGITS]
    return {one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in arrays}


@pytest.mark.parametrize(("family", "heads"), [("gpt2", 4), ("llama", 2)])
def test_a_language_model_has_the_names_and_axes_that_others_look_for(family: str, heads: int, exported: Files) -> None:
    path = exported[family]["model"]
    past, present = (["batch", heads, length, 16] for length in ("past", "past+sequence"))
    kinds = [f"{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]

    assert axes(path, of="input") == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "past+sequence"],
        "position_ids": ["batch", "sequence"],
        **{f"past_key_values.{kind}": past for kind in kinds},
    }
    assert axes(path, of="output") == {
        "logits": ["batch", "sequence", WORDS],
        **{f"present.{kind}": present for kind in kinds},
    }


@pytest.mark.parametrize("family", PAIRS)
def test_a_pair_has_the_names_and_axes_that_others_look_for(family: str, exported: Files) -> None:
    encoder, decoder = exported[family]["encoder_model"], exported[family]["decoder_model_merged"]
    states = ["batch", "encoder_sequence", WIDTH]
    kinds = [
        f"{layer}.{side}.{kind}" for layer in range(2) for side in ("decoder", "encoder") for kind in ("key", "value")
    ]

    def cache(kind: str, own: str, source: str) -> list[object]:
        return ["batch", 4, source if ".encoder." in kind else own, 16]

    assert axes(encoder, of="input") == dict.fromkeys(("input_ids", "attention_mask"), states[:2])
    assert axes(encoder, of="output") == {"last_hidden_state": states}
    assert axes(decoder, of="input") == {
        "input_ids": ["batch", "sequence"],
        "encoder_attention_mask": states[:2],
        "encoder_hidden_states": states,
        **{f"past_key_values.{kind}": cache(kind, "past", "past_encoder") for kind in kinds},
        "use_cache_branch": [1],
    }
    assert axes(decoder, of="output") == {
        "logits": ["batch", "sequence", WORDS],
        **{f"present.{kind}": cache(kind, "present", "encoder_sequence") for kind in kinds},
    }


@pytest.mark.parametrize(("family", "layers", "sequence"), [("lstm", 2, "sequence"), ("lstm told", 1, 1)])
def test_an_lstm_takes_and_gives_its_state(family: str, layers: int, sequence: object, exported: Files) -> None:
    encoder, decoder = exported[family]["encoder_model"], exported[family]["decoder_model_merged"]
    sizes = {"hidden": ["batch", layers, WIDTH], "cell": ["batch", layers, WIDTH], "attended": ["batch", WIDTH]}
    states = ["batch", "encoder_sequence", 2 * WIDTH]
    present = {f"present_state.{name}": shape for name, shape in sizes.items()}

    assert axes(encoder, of="output") == {"last_hidden_state": states, **present}
    assert axes(decoder, of="input") == {
        "input_ids": ["batch", sequence],
        "encoder_attention_mask": states[:2],
        "encoder_hidden_states": states,
        **{f"past_state.{name}": shape for name, shape in sizes.items()},
    }
    assert axes(decoder, of="output") == {"logits": ["batch", sequence, WORDS], **present}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, exported: Files) -> Graphs:
    return Graphs.open(exported[request.param])


def first_arrays(rows: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = np.ones((rows, 5), dtype=np.int64)
    mask[0, 3:] = 0
    return {
        "input_ids": rng.integers(2, WORDS, size=(rows, 1)),
        "encoder_attention_mask": mask,
        "encoder_hidden_states": rng.standard_normal((rows, 5, WIDTH)).astype(np.float32),
    }


@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_first_step_takes_no_notice_of_a_past(pair: Graphs, length: int) -> None:
    def logits(length: int) -> Any:
        past = pair.past(rows=2, length=length)
        return pair.run("decoder_model_merged", {**first_arrays(), **past, "use_cache_branch": np.array([False])})[
            "logits"
        ]

    np.testing.assert_array_equal(logits(length), logits(0))


def test_later_steps_do_not_read_the_source_again(pair: Graphs) -> None:
    arrays = first_arrays()
    found = pair.run(
        "decoder_model_merged", {**arrays, **pair.past(rows=2, length=0), "use_cache_branch": np.array([False])}
    )
    past = {name.replace("present", "past_key_values"): one for name, one in found.items() if name != "logits"}
    later = {**arrays, **past, "use_cache_branch": np.array([True])}

    left = pair.run("decoder_model_merged", later)
    right = pair.run(
        "decoder_model_merged", {**later, "encoder_hidden_states": later["encoder_hidden_states"] * np.nan}
    )

    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name])
    np.testing.assert_array_equal(left["present.0.encoder.key"], found["present.0.encoder.key"])


def tables(path: Path) -> list[str]:
    return [
        one.name
        for one in onnx.load(path).graph.initializer
        if len(one.dims) == 2 and WORDS in one.dims and 1 not in one.dims
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_table_that_the_head_shares_is_written_once(family: str, exported: Files) -> None:
    path = list(exported[family].values())[-1]

    assert len(tables(path)) == (1 if family in SHARED else 2)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_model_is_left_as_it_was(family: str, models: dict[str, nn.Module], exported: Files) -> None:
    assert models[family].config._attn_implementation == "sdpa"


@pytest.mark.parametrize("family", ["gpt2", "bart", "lstm"])
def test_another_opset_is_written_when_asked_for(family: str, models: dict[str, nn.Module], tmp_path: Path) -> None:
    files = export_written(models[family], tmp_path, opset=18)

    assert {one.version for path in files.values() for one in onnx.load(path).opset_import if not one.domain} == {18}
    assert compare_written(models[family], files, SHAPES).max_abs_error < TOLERANCE


class _Stubborn(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return torch.linalg.eigvals(values).real


def test_a_model_that_does_not_export_is_named(tmp_path: Path) -> None:
    part = Part(module=_Stubborn(), inputs={"values": torch.ones(2, 2)}, outputs=("found",), axes={})

    with pytest.raises(ExportError, match=r"model\.onnx does not export") as caught:
        write_part(part, tmp_path / "model.onnx", opset=17)
    assert caught.value.hint


def test_a_model_whose_cache_forgets_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = MistralForCausalLM(MistralConfig(vocab_size=WORDS, **sizes, num_key_value_heads=1, sliding_window=8))

    with pytest.raises(ExportError, match="remembers all tokens") as caught:
        export_written(model.eval(), tmp_path, opset=17)
    assert "sliding window" in caught.value.hint
    assert not list(tmp_path.iterdir())
