"""Which weights a transformer student starts from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    LongformerConfig,
    LongformerForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.transformer import copied_layers, student_config
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import TransformerStudent
from tests import tiny


@pytest.fixture(scope="module")
def teacher(checkpoint: Path) -> nn.Module:
    return load_model(checkpoint)


def build(checkpoint: Path, teacher: nn.Module, *, seed: int = 0, **settings: Any) -> nn.Module:
    chosen = TransformerStudent(**settings)
    return build_student(chosen, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=seed)


def test_all_weights_are_those_of_the_chosen_layers(checkpoint: Path, teacher: nn.Module) -> None:
    student = build(checkpoint, teacher, layers=2, teacher_layers=(1, 3))

    weights = teacher.state_dict()
    for name, value in student.state_dict().items():
        source = name.replace("layer.1.", "layer.3.") if "layer.1." in name else name.replace("layer.0.", "layer.1.")
        assert torch.equal(value, weights[source]), name
    assert len(student.bert.encoder.layer) == 2  # type: ignore[union-attr, arg-type]


def test_a_student_with_all_layers_answers_like_its_teacher(checkpoint: Path, teacher: nn.Module) -> None:
    student = build(checkpoint, teacher, layers=4).eval()
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])

    left, right = (model(input_ids=ids, attention_mask=(ids > 0).long()).logits for model in (student, teacher))

    assert torch.equal(left, right)


def test_a_copy_is_not_the_teacher_itself(checkpoint: Path, teacher: nn.Module) -> None:
    student = build(checkpoint, teacher, layers=4)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}

    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)

    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_layers_left_out_are_half_of_the_teachers(checkpoint: Path, teacher: nn.Module) -> None:
    student: Any = build(checkpoint, teacher)

    assert student.config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("teacher_depth", "student_depth", "layers"),
    [
        (4, 2, (0, 3)),
        (6, 3, (0, 2, 5)),
        (12, 6, (0, 2, 4, 7, 9, 11)),
        (12, 4, (0, 4, 7, 11)),
        (6, 1, (0,)),
        (3, 3, (0, 1, 2)),
    ],
)
def test_layers_are_evenly_spread_with_both_ends(
    teacher_depth: int, student_depth: int, layers: tuple[int, ...]
) -> None:
    found = copied_layers(TransformerStudent(), teacher_depth=teacher_depth, student_depth=student_depth)

    assert found == layers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 5}, "student.layers 5 is more than the teacher's 4"),
        ({"layers": 2, "teacher_layers": (0, 4)}, "0 to 3"),
        ({"layers": 2, "teacher_layers": (0, 1, 2)}, "does not name 2"),
        ({"hidden_size": 30, "attention_heads": 4}, "hidden_size 30 cannot be shared by 4"),
        ({"attention_heads": 5}, "hidden_size 32 cannot be shared by 5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    checkpoint: Path, teacher: nn.Module, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        build(checkpoint, teacher, **settings)
    assert caught.value.hint


def test_more_layers_than_the_teacher_are_no_fault_from_random_weights(checkpoint: Path, teacher: nn.Module) -> None:
    student: Any = build(checkpoint, teacher, layers=5, init="random")

    assert len(student.bert.encoder.layer) == 5


@pytest.mark.parametrize(
    ("settings", "width", "inner", "heads"),
    [
        ({"hidden_size": 16}, 16, 64, 2),
        ({"hidden_size": 16, "attention_heads": 4}, 16, 64, 4),
        ({"intermediate_size": 40}, 32, 40, 4),
        ({"attention_heads": 2}, 32, 128, 2),
    ],
)
def test_what_is_left_out_keeps_the_teachers_proportions(
    teacher: nn.Module, settings: dict[str, Any], width: int, inner: int, heads: int
) -> None:
    config: Any = student_config(teacher.config, TransformerStudent(**settings))  # type: ignore[arg-type]

    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (width, inner, heads)


def words(model: Any) -> torch.Tensor:
    weight: torch.Tensor = model.get_input_embeddings().weight
    return weight


def inner(model: Any) -> torch.Tensor:
    weight: torch.Tensor = model.bert.encoder.layer[0].output.dense.weight
    return weight


@pytest.mark.parametrize("settings", [{"hidden_size": 16}, {"intermediate_size": 256}, {"init": "random"}])
def test_layers_of_other_widths_start_at_random(checkpoint: Path, teacher: nn.Module, settings: dict[str, Any]) -> None:
    first, again = build(checkpoint, teacher, seed=3, **settings), build(checkpoint, teacher, seed=3, **settings)
    other = build(checkpoint, teacher, seed=4, **settings)

    assert torch.equal(inner(first), inner(again))
    assert not torch.equal(inner(first), inner(other))


def test_word_vectors_of_other_widths_start_from_what_fits_of_the_teachers(
    checkpoint: Path, teacher: nn.Module
) -> None:
    narrow, as_wide = (
        build(checkpoint, teacher, **settings) for settings in ({"hidden_size": 16}, {"intermediate_size": 64})
    )
    random = build(checkpoint, teacher, init="random")

    assert torch.equal(words(as_wide), words(teacher))
    assert not torch.equal(words(random), words(teacher))
    # On its principal directions a narrower table keeps as much of the distances as any could.
    vectors = words(teacher).detach() - words(teacher).detach().mean(dim=0)
    kept = torch.linalg.svdvals(vectors)[:16]
    assert torch.allclose(torch.linalg.svdvals(words(narrow).detach()), kept, atol=1e-4)


def test_a_checkpoint_can_be_the_start(checkpoint: Path, teacher: nn.Module) -> None:
    student = build(checkpoint, teacher, init=str(checkpoint))

    weights = teacher.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in student.state_dict().items())


def test_a_bilstm_teacher_has_no_layers_to_give(checkpoint: Path, bilstm_bundle: Any) -> None:
    with pytest.raises(RecipeError, match="BiLSTM"):
        build(bilstm_bundle.path, load_model(bilstm_bundle.path))


def test_layers_keep_their_kind_of_attention_and_are_saved(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 40}
    config = ModernBertConfig(**sizes, num_hidden_layers=6, pad_token_id=0, cls_token_id=1, sep_token_id=2)
    kinds = config.layer_types

    usual = student_config(config, TransformerStudent(layers=3))
    chosen = student_config(config, TransformerStudent(layers=2, teacher_layers=(3, 4)))

    assert usual.layer_types == [kinds[0], kinds[2], kinds[5]]
    assert chosen.layer_types == [kinds[3], kinds[4]]
    ModernBertForSequenceClassification(usual).save_pretrained(tmp_path)


def test_each_layer_keeps_its_window() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 40}
    config = LongformerConfig(**sizes, num_hidden_layers=4, attention_window=[4, 8, 16, 32], max_position_embeddings=64)

    found = student_config(config, TransformerStudent(layers=2))

    assert found.attention_window == [4, 32]
    assert len(LongformerForSequenceClassification(found).longformer.encoder.layer) == 2
