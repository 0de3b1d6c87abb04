"""Sentence vectors: how states become one vector, the encoder behind them, and the files that say so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from kd_deploy.distill.observe import observe, shape_of
from kd_deploy.distill.students.pooling import Embedder, Pooling, pooled, read_pooling, write_pooling
from kd_deploy.distill.torch_runner import input_names
from kd_deploy.errors import BundleError
from tests.distill.students.exported import ENTRIES, check_int8, check_parity, without_gradient

MEAN, CLS = Pooling(normalize=False), Pooling(mode="cls", normalize=False)
STATES = torch.tensor([[[9.0, 9.0], [3.0, 0.0], [5.0, 8.0]], [[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])  # [2, 3, 2]
MASK = torch.tensor([[0, 1, 1], [1, 1, 0]])


def embedder(pooling: Pooling) -> Embedder:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=ENTRIES,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        attn_implementation="eager",
    )
    return Embedder(BertModel(config, add_pooling_layer=False), pooling).eval()


def ids(*rows: list[int]) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    made = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": made, "attention_mask": (made > 0).long()}


def test_the_mean_and_the_first_by_hand() -> None:
    assert_close(pooled(STATES, MASK, pooling=MEAN), torch.tensor([[4.0, 4.0], [2.0, 3.0]]))
    assert_close(pooled(STATES, MASK, pooling=CLS), torch.tensor([[3.0, 0.0], [1.0, 2.0]]))


def test_a_normalised_vector_has_length_1_and_the_same_direction() -> None:
    found = pooled(STATES, MASK, pooling=Pooling())

    assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [2 / 13**0.5, 3 / 13**0.5]]))


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_a_row_of_padding_alone_has_a_vector(mode: Any) -> None:
    assert pooled(STATES, torch.zeros_like(MASK), pooling=Pooling(mode=mode)).isfinite().all()


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_mates_in_the_batch_change_nothing(mode: Any) -> None:
    made, texts = embedder(Pooling(mode=mode)), ([5, 6], [9, 8, 7, 6, 5])

    together = made(**ids(*texts)).sentence_embedding

    assert_close(together, torch.cat([made(**ids(text)).sentence_embedding for text in texts]))


def test_an_embedder_shows_what_its_encoder_shows() -> None:
    made, arrays = embedder(Pooling()), ids([5, 6, 7])
    bare = made.encoder(**arrays, output_hidden_states=True, output_attentions=True)

    shown = made(**arrays, output_hidden_states=True, output_attentions=True)

    assert torch.equal(shown.logits, shown.sentence_embedding)
    assert torch.equal(shown.last_hidden_state, bare.last_hidden_state)
    assert all(map(torch.equal, shown.hidden_states, bare.hidden_states))
    assert all(map(torch.equal, shown.attentions, bare.attentions))
    assert made(**arrays).hidden_states is None


def test_an_embedder_is_observed_like_any_transformer() -> None:
    made = embedder(Pooling())

    found = observe(made, ids([5, 6, 7]), names=("embedding", "hidden.1", "query.0"))

    assert (shape_of(made).depth, shape_of(made).width, shape_of(made).heads) == (2, 8, 2)
    assert found["logits"].shape == (1, 8)
    assert found["hidden.1"].shape == found["query.0"].shape == (1, 3, 8)
    assert input_names(made) == ("input_ids", "attention_mask", "token_type_ids")


def test_on_disk_an_embedder_is_the_plain_encoder(tmp_path: Path) -> None:
    made = embedder(Pooling())
    made.save_pretrained(tmp_path)

    again = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)

    assert all(torch.equal(value, made.encoder.state_dict()[name]) for name, value in again.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]


def test_the_word_vectors_are_the_encoders() -> None:
    made, table = embedder(Pooling()), torch.nn.Embedding(7, 8)
    assert made.get_input_embeddings() is made.encoder.get_input_embeddings()

    made.set_input_embeddings(table)

    assert made.encoder.get_input_embeddings() is table


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_a_gradient_reaches_every_parameter(mode: Any) -> None:
    made = embedder(Pooling(mode=mode))
    vectors = made(**ids([5, 6, 7])).sentence_embedding

    still = without_gradient(made, vectors[:, 0].sum())

    # Attention does not see what is added to all keys alike.
    assert [name for name in still if not name.endswith("key.bias")] == []


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_a_graph_gives_the_same_vectors_and_runs_in_int8(mode: Any, tmp_path: Path) -> None:
    made: Any = embedder(Pooling(mode=mode))
    made.input_names = ("input_ids", "attention_mask", "token_type_ids")

    check_parity(made, tmp_path / "model.onnx", level="text", outputs=("sentence_embedding",))
    found = check_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", inputs=made.input_names)

    assert found["MatMul"] == 12


@pytest.mark.parametrize("mode", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_written_is_read(mode: Any, normalize: bool, tmp_path: Path) -> None:
    pooling = Pooling(mode=mode, normalize=normalize)

    write_pooling(tmp_path, pooling, width=8, max_length=24)

    modules = json.loads((tmp_path / "modules.json").read_text())
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")][: 2 + normalize]
    assert [(one["type"], one["path"]) for one in modules] == [
        (f"sentence_transformers.models.{kind}", path) for kind, path in kinds
    ]
    config = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert config["word_embedding_dimension"] == 8
    assert [name for name, value in config.items() if value is True] == [
        {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[mode]
    ]
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 24
    assert read_pooling(tmp_path) == pooling


def write(folder: Path, config: object, *kinds: str) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    if kinds:
        (folder / "modules.json").write_text(json.dumps([{"type": f"some.package.{kind}"} for kind in kinds]))


def test_without_files_it_is_the_normalised_mean(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) == Pooling(mode="mean", normalize=True)


@pytest.mark.parametrize(
    ("config", "kinds", "pooling"),
    [
        ({"pooling_mode": "cls"}, ("Transformer", "Pooling", "Normalize"), Pooling(mode="cls")),
        ({"pooling_mode": ["mean"]}, ("Transformer", "Pooling"), MEAN),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("Transformer", "Pooling"), CLS),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}, ("Transformer", "Pooling"), MEAN),
        ({"pooling_mode": "cls"}, (), Pooling(mode="cls")),
    ],
)
def test_older_and_newer_files_are_read(
    config: object, kinds: tuple[str, ...], pooling: Pooling, tmp_path: Path
) -> None:
    write(tmp_path, config, *kinds)

    assert read_pooling(tmp_path) == pooling


@pytest.mark.parametrize(
    ("config", "kinds", "message"),
    [
        ({"pooling_mode": "lasttoken"}, (), "pools by lasttoken"),
        ({"pooling_mode": None}, (), "pools by None"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, (), "pools by max_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, (), "pools by cls_token and mean_tokens"),
        ({}, ("Transformer", "Pooling", "Dense"), "names the module Dense"),
        ([], (), "holds no dict"),
    ],
)
def test_what_we_cannot_run_is_refused(config: object, kinds: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write(tmp_path, config, *kinds)

    with pytest.raises(BundleError, match=message) as caught:
        read_pooling(tmp_path)
    assert caught.value.hint


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[{")

    with pytest.raises(BundleError, match=r"modules\.json is not valid JSON"):
        read_pooling(tmp_path)
