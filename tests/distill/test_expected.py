"""What is known of models before they are trained: whether attention can be read, and whether tokens are the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    ModernBertConfig,
    T5Config,
)

from kd_deploy.distill.check import check_recipe
from kd_deploy.distill.expected import blank, shape_from
from kd_deploy.errors import MissingExtraError, RecipeError, TrainingError
from kd_deploy.recipe import Distill, Recipe
from tests import tiny

SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 6}
MARKS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
READABLE = [BertConfig(**SIZES), DistilBertConfig(dim=32, n_heads=4, hidden_dim=32, dtype="bfloat16")]
HIDDEN_FROM_US = [
    ModernBertConfig(**SIZES, **MARKS, vocab_size=100),
    DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    AlbertConfig(**SIZES),
    T5Config(d_model=32, num_layers=2),
]
RELATIONS = Distill.model_validate({"objective": [{"term": "relations"}]}).objective
SOFT = Distill.model_validate({"objective": [{"term": "soft_targets"}]}).objective


def heads(config: Any, terms: Any = RELATIONS) -> int | None:
    return shape_from(config, task="text-classification", terms=terms).heads


@pytest.mark.parametrize("config", READABLE, ids=lambda one: one.model_type)
def test_attention_that_can_be_read_has_its_heads(config: Any) -> None:
    assert heads(config) == 4


@pytest.mark.parametrize("config", HIDDEN_FROM_US, ids=lambda one: one.model_type)
def test_attention_that_cannot_be_read_has_none(config: Any) -> None:
    assert heads(config) is None


@pytest.mark.parametrize("config", [*READABLE, *HIDDEN_FROM_US[:3]], ids=lambda one: one.model_type)
def test_the_first_token_of_an_encoder_stands_for_the_text(config: Any) -> None:
    assert shape_from(config, task="text-classification", terms=SOFT).first_token


@pytest.mark.parametrize(
    "config", [GPT2Config(n_layer=2), T5Config(d_model=32, num_layers=2), BertConfig(**SIZES, is_decoder=True)], ids=str
)
def test_the_first_token_of_a_decoder_has_seen_nothing(config: Any) -> None:
    assert not shape_from(config, task="text-classification", terms=SOFT).first_token


def test_to_ask_leaves_the_config_and_the_dice_alone() -> None:
    config = BertConfig(**SIZES)
    before, state = config.to_dict(), torch.get_rng_state()

    assert heads(config) == heads(config, SOFT)
    assert config.to_dict() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_without_weights_takes_no_memory() -> None:
    model = blank(BertConfig(hidden_size=4096, num_attention_heads=32), task="token-classification")

    assert {one.device.type for one in model.parameters()} == {"meta"}


def test_a_family_without_the_head_is_named() -> None:
    with pytest.raises(RecipeError, match="a t5 has no head for fill-mask"):
        blank(T5Config(d_model=32, num_layers=2), task="fill-mask")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of other classes, with a vocabulary of its own."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("other") / "bert", tiny.multi_label(64, seed=0), trained=False)


def recipe(checkpoint: Path, term: str, **sections: Any) -> Recipe:
    distill = sections.pop("distill", {})
    document = {
        "version": 1,
        "task": "text-classification",
        "data": {"max_length": tiny.MAX_LENGTH},
        "teacher": {"model": str(checkpoint)},
        "student": {"architecture": "transformer", "layers": 2},
        "distill": {"objective": [{"term": term}], **distill},
    }
    return Recipe.of(document | sections)


@pytest.mark.parametrize("term", ["relations", "attention_kl", "attention_mse"])
def test_a_term_over_attention_that_cannot_be_read_is_refused_before_training(tmp_path: Path, term: str) -> None:
    folder = unread(tmp_path)

    with pytest.raises(RecipeError, match=f"the term {term} reads attention, and that of a modernbert cannot be read"):
        check_recipe(recipe(folder, term))
    check_recipe(recipe(folder, "hidden"))


def test_a_teacher_without_a_list_of_layers_is_refused_before_training(tmp_path: Path) -> None:
    folder = tiny.write_checkpoint(tmp_path / "bert", tiny.single_label(32, seed=0), trained=False)
    sizes = SIZES | {"embedding_size": 16, "vocab_size": 200, "architectures": ["AlbertForSequenceClassification"]}
    AlbertConfig(**sizes, **MARKS).save_pretrained(folder)
    vectors = {"architecture": "bilstm", "embedding_size": 24}

    with pytest.raises(RecipeError, match="a AlbertForSequenceClassification has no list of 6 layers to copy from"):
        check_recipe(recipe(folder, "soft_targets"))
    with pytest.raises(RecipeError, match=r"student\.embedding_size 24 is more than the teacher's 16"):
        check_recipe(recipe(folder, "soft_targets", student=vectors))
    check_recipe(recipe(folder, "soft_targets", student=vectors | {"embedding_size": 16}))


@pytest.mark.parametrize(
    "student",
    [{"architecture": "static"}, {"architecture": "bilstm"}, {"architecture": "transformer", "layers": 1}],
)
def test_two_passes_without_dropout_are_refused_before_training(checkpoint: Path, student: dict[str, Any]) -> None:
    asking = {"active": {"strategy": "disagreement", "budget": 20}}

    with pytest.raises(RecipeError, match="disagreement is between two passes with dropout, and the student has none"):
        check_recipe(recipe(checkpoint, "soft_targets", student=student | {"dropout": 0}, distill=asking))
    check_recipe(recipe(checkpoint, "soft_targets", student=student, distill=asking))
    with pytest.raises(
        RecipeError, match=r"distill\.r_drop is between two passes with dropout, and the student has none"
    ):
        check_recipe(recipe(checkpoint, "soft_targets", student=student | {"dropout": 0}, distill={"r_drop": 1.0}))
    check_recipe(recipe(checkpoint, "soft_targets", distill=asking))


@pytest.mark.parametrize(
    ("term", "least"),
    [("contrastive", 2), ("similarity_matrix", 2), ("distance_relations", 2), ("angle_relations", 3)],
)
def test_batches_too_small_to_compare_texts_are_refused(checkpoint: Path, term: str, least: int) -> None:
    with pytest.raises(RecipeError, match=f"batch_size {least - 1} is too small for {term}") as caught:
        check_recipe(recipe(checkpoint, term, distill={"batch_size": least - 1}))
    assert caught.value.hint.startswith(f"set it to {least} at least")
    check_recipe(recipe(checkpoint, term, distill={"batch_size": least}))


@pytest.mark.parametrize(("term", "least"), [("contrastive", 2), ("relational", 2), ("angle_relations", 3)])
def test_batches_that_long_texts_leave_too_small_are_refused(checkpoint: Path, term: str, least: int) -> None:
    room = least * tiny.MAX_LENGTH

    with pytest.raises(RecipeError, match=f"batch_tokens {room - 1} is too small for {term}") as caught:
        check_recipe(recipe(checkpoint, term, distill={"batch_tokens": room - 1}))
    assert caught.value.hint.startswith(f"set it to {room} at least")
    check_recipe(recipe(checkpoint, term, distill={"batch_tokens": room}))
    check_recipe(recipe(checkpoint, "soft_targets", distill={"batch_tokens": 1}))


@pytest.mark.parametrize(
    "student",
    [
        {"architecture": "bilstm"},
        {"architecture": "static"},
        {"architecture": "transformer", "hidden_size": 16, "attention_heads": 4},
        {"architecture": "transformer", "init": "random"},
    ],
    ids=str,
)
def test_a_head_that_starts_at_random_and_is_never_trained_is_refused(
    checkpoint: Path, student: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=r"no term trains the head of a .*, which starts at random"):
        check_recipe(recipe(checkpoint, "embedding", student=student))
    check_recipe(recipe(checkpoint, "soft_targets", student=student))


def test_a_head_that_is_copied_need_not_be_trained(checkpoint: Path) -> None:
    check_recipe(recipe(checkpoint, "embedding", student={"architecture": "transformer", "layers": 2}))


def test_a_chat_model_may_be_silent_and_weighs_no_batch(checkpoint: Path) -> None:
    def asking(protocol: str, **term: Any) -> Recipe:
        endpoint = {"url": "http://localhost:9", "protocol": protocol, "model": "far"}
        rows = {"objective": [{"term": "soft_targets"} | term]}
        teacher = {"model": str(checkpoint), "endpoint": endpoint}
        return recipe(checkpoint, "soft_targets", teacher=teacher, distill=rows)

    for term in ({"term": "relational"}, {"focus": "unsure"}):
        with pytest.raises(RecipeError, match=r"a chat model may name no label, and .* weighs the texts of a batch"):
            check_recipe(asking("openai", **term))
        check_recipe(asking("oip", **term))
    check_recipe(asking("openai"))


def test_the_dropout_of_adapters_is_gone_before_questions_are_chosen(checkpoint: Path) -> None:
    student = {"architecture": "transformer", "layers": 2, "dropout": 0}
    adapted = {"adapter": {"dropout": 0.1}}

    asking = {"active": {"strategy": "disagreement", "budget": 20}}
    with pytest.raises(RecipeError, match="disagreement is between two passes with dropout"):
        check_recipe(recipe(checkpoint, "soft_targets", student=student, distill=adapted | asking))
    check_recipe(recipe(checkpoint, "soft_targets", student=student, distill=adapted | {"r_drop": 1.0}))


def test_classes_that_are_compared_over_a_batch_go_with_no_weights_of_texts(checkpoint: Path) -> None:
    surest = {"samples": {"wrong": 0}}
    rows = {"objective": [{"term": "relational", "gamma": 0}]}

    with pytest.raises(RecipeError, match=r"distill\.samples .* and relational compares all texts of a batch"):
        check_recipe(recipe(checkpoint, "relational", distill=surest))
    check_recipe(recipe(checkpoint, "relational", distill=surest | rows))
    with pytest.raises(RecipeError, match="and similarity_matrix compares all texts of a batch"):
        check_recipe(recipe(checkpoint, "similarity_matrix", distill=surest))


def test_a_precision_that_is_not_to_be_had_is_refused_before_training(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.distill.precision.has_bf16", lambda: False)

    with pytest.raises(TrainingError, match="precision bf16: no bfloat16 products in hardware here"):
        check_recipe(recipe(checkpoint, "soft_targets", distill={"precision": "bf16"}))


def unread(tmp_path: Path) -> Path:
    """A ModernBERT, whose queries are turned by their places."""
    folder = tiny.write_checkpoint(tmp_path / "bert", tiny.single_label(32, seed=0), trained=False)
    fields = {"architectures": ["ModernBertForSequenceClassification"], "max_position_embeddings": 64}
    ModernBertConfig(**SIZES, **MARKS, vocab_size=200, **fields).save_pretrained(folder)
    return folder


def test_a_start_with_other_tokens_is_refused_before_training(checkpoint: Path, other: Path) -> None:
    student = {"architecture": "transformer", "init": str(other)}

    with pytest.raises(RecipeError, match="the term hidden compares token by token"):
        check_recipe(recipe(checkpoint, "hidden", student=student))
    check_recipe(recipe(checkpoint, "soft_targets", student=student))


def test_made_up_texts_beside_a_smaller_vocabulary_are_refused_before_training(checkpoint: Path) -> None:
    student = {"architecture": "transformer", "layers": 2, "vocabulary": "auto"}

    with pytest.raises(RecipeError, match="the term hidden compares token by token"):
        check_recipe(recipe(checkpoint, "hidden", student=student, distill={"augment": {}}))
    check_recipe(recipe(checkpoint, "hidden", student=student))


def test_a_further_teacher_with_other_tokens_is_refused_before_training(checkpoint: Path, other: Path) -> None:
    tasks = {"topic": {"data": {}, "teacher": {"model": str(other)}}}

    with pytest.raises(RecipeError, match=r"tasks\.topic: .*the term hidden compares token by token"):
        check_recipe(recipe(checkpoint, "hidden", tasks=tasks))
    check_recipe(recipe(checkpoint, "soft_targets", tasks=tasks))


def further(teacher: dict[str, Any]) -> dict[str, Any]:
    return {"topic": {"data": {}, "teacher": teacher}}


def test_the_positions_of_a_further_teacher_are_asked_for_before_training(checkpoint: Path, tmp_path: Path) -> None:
    short = unread(tmp_path)
    ModernBertConfig(**SIZES, **MARKS, vocab_size=200, max_position_embeddings=12).save_pretrained(short)

    with pytest.raises(RecipeError, match=r"tasks\.topic: data\.max_length 24 is more than the 12 positions"):
        check_recipe(recipe(checkpoint, "soft_targets", tasks=further({"model": str(short)})))


def test_the_mask_of_a_further_teacher_is_asked_for_before_training(checkpoint: Path, other: Path) -> None:
    tokenizer = other / "tokenizer.json"
    whole = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(whole.replace("[MASK]", "[HIDE]"), encoding="utf-8")
    made_up = {"augment": {"mask": 0.1}}

    with pytest.raises(RecipeError, match=r"tasks\.topic: distill\.augment\.mask: the tokenizer .* no mask token"):
        check_recipe(recipe(checkpoint, "soft_targets", distill=made_up, tasks=further({"model": str(other)})))
    tokenizer.write_text(whole, encoding="utf-8")


def test_a_tracker_of_a_further_teacher_is_asked_for_before_training(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    teacher = {"model": str(checkpoint), "finetune": {"report_to": ["wandb"]}}

    with pytest.raises(MissingExtraError, match="report_to: wandb"):
        check_recipe(recipe(checkpoint, "soft_targets", tasks=further(teacher)))
