"""Students of transformers that write: their sizes, and which weights they start from."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BertConfig,
    EncoderDecoderConfig,
    GPT2Config,
    LlamaConfig,
    MarianConfig,
    MBartConfig,
    Qwen2Config,
    T5Config,
)

from kd_deploy.distill.students.depth import Depths, copied_depths, copied_writer, takes_layers, writer_config
from kd_deploy.errors import RecipeError
from tests.distill.students.models import logits, writer

PAIR: dict[str, Any] = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
LIKE_LLAMA: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "gpt2": GPT2Config(
        vocab_size=40, n_layer=4, n_embd=16, n_head=2, n_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
    "llama": LlamaConfig(**LIKE_LLAMA),
    "qwen2": Qwen2Config(
        **LIKE_LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=2, tie_word_embeddings=True
    ),
    "bart": BartConfig(**PAIR),
    "mbart": MBartConfig(**PAIR),
    "marian": MarianConfig(**PAIR),
    "t5": T5Config(
        vocab_size=40, d_model=16, num_layers=4, num_decoder_layers=4, num_heads=2, d_kv=6, d_ff=24, pad_token_id=0,
        decoder_start_token_id=0,
    ),
}  # fmt: skip
PAIRS = ("bart", "mbart", "marian", "t5")
TIED = tuple(name for name in CONFIGS if name != "llama")


@pytest.fixture(scope="module")
def teachers() -> dict[str, Any]:
    return {name: writer(config, seed=0) for name, config in CONFIGS.items()}


def student_of(teacher: Any, **settings: Any) -> Any:
    return writer(writer_config(teacher.config, Depths(**settings)), seed=1)


def count(model: Any, part: str) -> int:
    layers = {name.split(".layers.")[1].split(".")[0] for name in model.state_dict() if f"{part}.layers." in name}
    return len(layers)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_student_with_all_layers_answers_as_its_teacher(teachers: dict[str, Any], name: str) -> None:
    student = student_of(teachers[name], decoder_layers=4)
    assert not torch.equal(logits(student), logits(teachers[name]))

    layers = copied_writer(student, teachers[name])

    assert set(layers.values()) == {(0, 1, 2, 3)}
    assert torch.equal(logits(student), logits(teachers[name]))


@pytest.mark.parametrize("name", CONFIGS)
def test_left_out_the_encoder_stays_and_half_of_the_decoder_goes(teachers: dict[str, Any], name: str) -> None:
    student = student_of(teachers[name])

    layers = copied_writer(student, teachers[name])

    assert layers == ({"encoder": (0, 1, 2, 3), "decoder": (0, 3)} if name in PAIRS else {"decoder": (0, 3)})
    assert student.num_parameters() < teachers[name].num_parameters()
    assert logits(student).isfinite().all()


@pytest.mark.parametrize(("name", "place"), [("bart", "model.decoder.layers"), ("gpt2", "transformer.h")])
def test_each_layer_has_the_weights_of_the_one_it_starts_from(teachers: dict[str, Any], name: str, place: str) -> None:
    student = student_of(teachers[name])

    copied_writer(student, teachers[name])

    weights = teachers[name].state_dict()
    for one, value in student.state_dict().items():
        assert torch.equal(value, weights[one.replace(f"{place}.1.", f"{place}.3.")]), one


def test_configs_alone_say_which_layers_are_copied() -> None:
    config = writer_config(CONFIGS["marian"], Depths(encoder_layers=1, decoder_layers=3))

    assert copied_depths(config, CONFIGS["marian"]) == {"encoder": (0,), "decoder": (0, 2, 3)}


def test_the_encoder_can_lose_layers_too(teachers: dict[str, Any]) -> None:
    student = student_of(teachers["bart"], encoder_layers=3, decoder_layers=1)

    assert copied_writer(student, teachers["bart"]) == {"encoder": (0, 2, 3), "decoder": (0,)}
    assert (count(student, "encoder"), count(student, "decoder")) == (3, 1)


@pytest.mark.parametrize("name", TIED)
def test_what_is_tied_stays_tied_and_is_not_the_teachers_own(teachers: dict[str, Any], name: str) -> None:
    student, teacher = student_of(teachers[name]), teachers[name]

    copied_writer(student, teacher)

    table = student.get_input_embeddings().weight
    assert student.get_output_embeddings().weight is table
    assert torch.equal(table, teacher.get_input_embeddings().weight)
    assert not {one.data_ptr() for one in student.parameters()} & {one.data_ptr() for one in teacher.parameters()}


def test_a_head_of_its_own_stays_one(teachers: dict[str, Any]) -> None:
    student = student_of(teachers["llama"])

    copied_writer(student, teachers["llama"])

    head = student.get_output_embeddings().weight
    assert torch.equal(head, teachers["llama"].get_output_embeddings().weight)
    assert not torch.equal(head, student.get_input_embeddings().weight)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_halved_student_writes(teachers: dict[str, Any], name: str) -> None:
    student = student_of(teachers[name])
    copied_writer(student, teachers[name])
    ids = torch.tensor([[7, 8, 9, 2]])

    cached, again = (
        student.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, use_cache=cache)
        for cache in (True, False)
    )

    assert torch.equal(cached, again)


@pytest.mark.parametrize(
    ("name", "settings", "sizes"),
    [
        ("gpt2", {"hidden_size": 8}, {"n_embd": 8, "n_head": 1, "n_inner": None}),
        ("gpt2", {"hidden_size": 8, "attention_heads": 4}, {"n_embd": 8, "n_head": 4}),
        ("gpt2", {"intermediate_size": 80}, {"n_embd": 16, "n_inner": 80}),
        (
            "llama",
            {"hidden_size": 8},
            {
                "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
                "intermediate_size": 12,
            },
        ),
        ("llama", {"attention_heads": 2}, {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}),
        (
            "bart",
            {"hidden_size": 8},
            {
                "d_model": 8, "encoder_attention_heads": 1, "decoder_attention_heads": 1, "encoder_ffn_dim": 12,
                "decoder_ffn_dim": 12, "decoder_layers": 2,
            },
        ),
        ("t5", {"hidden_size": 8}, {"d_model": 8, "num_heads": 1, "d_kv": 6, "d_ff": 12, "num_decoder_layers": 2}),
        ("t5", {"attention_heads": 3}, {"d_model": 16, "num_heads": 3, "d_kv": 6}),
    ],
)  # fmt: skip
def test_other_widths_are_in_proportion_and_make_a_model_of_random_weights(
    teachers: dict[str, Any], name: str, settings: dict[str, int], sizes: dict[str, int | None]
) -> None:
    config: Any = writer_config(teachers[name].config, Depths(**settings))
    student = writer(config, seed=0)

    assert {size: getattr(config, size) for size in sizes} == sizes
    assert student.get_input_embeddings().weight.shape[1] == settings.get("hidden_size", 16)
    assert logits(student).shape[-1] == 40
    assert not takes_layers(config, teachers[name].config)


def test_an_inner_width_that_is_what_the_config_leaves_out_is_no_other_width(teachers: dict[str, Any]) -> None:
    teacher = teachers["gpt2"]
    student = student_of(teacher, intermediate_size=64, decoder_layers=4)

    assert takes_layers(student.config, teacher.config)
    copied_writer(student, teacher)
    assert torch.equal(logits(student), logits(teacher))


def test_each_layer_keeps_the_kind_of_its_attention(teachers: dict[str, Any]) -> None:
    config: Any = writer_config(teachers["qwen2"].config, Depths(decoder_layers=3))

    assert teachers["qwen2"].config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 2
    assert config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]


def test_the_teachers_config_stays_as_it_is(teachers: dict[str, Any]) -> None:
    before = teachers["t5"].config.to_dict()

    writer_config(teachers["t5"].config, Depths(hidden_size=8, decoder_layers=1))

    assert teachers["t5"].config.to_dict() == before


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt2", {"encoder_layers": 2}, "encoder_layers 2, but a gpt2 teacher has no encoder"),
        ("gpt2", {"hidden_size": 10, "attention_heads": 4}, "hidden_size 10 cannot be shared by 4"),
        ("bart", {"attention_heads": 3}, "hidden_size 16 cannot be shared by 3"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(
    teachers: dict[str, Any], name: str, settings: dict[str, int], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        writer_config(teachers[name].config, Depths(**settings))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt2", {"decoder_layers": 5}, "student.layers 5 is more than the teacher's 4"),
        ("bart", {"encoder_layers": 6}, "student.encoder_layers 6 is more than the teacher's 4"),
        ("gpt2", {"hidden_size": 8}, r"wte.weight is \[40, 8\] in the student, \[40, 16\] in the teacher"),
        ("t5", {"intermediate_size": 32}, r"\[32, 16\] in the student, \[24, 16\] in the teacher"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_copied(
    teachers: dict[str, Any], name: str, settings: dict[str, int], message: str
) -> None:
    student = student_of(teachers[name], **settings)
    before = logits(student)

    with pytest.raises(RecipeError, match=message) as caught:
        copied_writer(student, teachers[name])

    assert caught.value.hint
    assert torch.equal(logits(student), before)


def test_a_teacher_of_two_models_names_no_sizes_of_its_own() -> None:
    config = EncoderDecoderConfig.from_encoder_decoder_configs(BertConfig(), BertConfig())

    with pytest.raises(RecipeError, match="encoder-decoder teacher's config names none of n_embd"):
        writer_config(config, Depths())


def test_a_model_without_a_list_of_its_layers_is_refused(teachers: dict[str, Any]) -> None:
    class Closed(nn.Module):
        config = CONFIGS["gpt2"]

    with pytest.raises(RecipeError, match="Closed has no list of 4 layers"):
        copied_writer(teachers["gpt2"], Closed())
