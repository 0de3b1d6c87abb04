"""Students trained through LoRA and AdaLoRA: what is trained, what is not, and a plain model at the end."""

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    FNetConfig,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from kd_deploy.distill import trainer as trainer_module
from kd_deploy.distill.adapters import Adapters, merged, with_adapters
from kd_deploy.distill.check import check_recipe
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.observe import observe
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.pooling import Pooling, embedder
from kd_deploy.distill.terms import labels_alone
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.distill.trainer import DistillTrainer, train
from kd_deploy.errors import MissingExtraError, RecipeError
from kd_deploy.recipe import Distill, Recipe
from kd_deploy.recipe.adapter import Adapter
from kd_deploy.tasks.task import Examples
from tests import tiny

METHODS = ("lora", "adalora")
IDS = torch.arange(5, 45).view(4, 10)
TARGETS = torch.tensor([0, 1, 0, 1])
DATA = tiny.single_label(32, seed=5)
SETTINGS = Distill(
    epochs=4, batch_size=16, learning_rate=1e-2, precision="fp32", adapter=Adapter(rank=2), warmup=0.0, weight_decay=0
)
STEPS = 2  # in an epoch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights: four layers of width 32."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("adapters") / "bert", DATA, trained=False)


@pytest.fixture
def model(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    return load_model(folder)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return observe(model.eval(), {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})["logits"]


def walk(adapters: Adapters, steps: int) -> Iterator[Adapters]:
    """Optimiser steps as transformers.Trainer makes them; the adapters after each."""
    model = adapters.model.train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    for step in range(steps):
        state = SimpleNamespace(global_step=step)
        nn.functional.cross_entropy(model(input_ids=IDS).logits, TARGETS).backward()
        for callback in adapters.callbacks:
            callback.on_pre_optimizer_step(None, state, None)
        optimizer.step()
        for callback in adapters.callbacks:
            callback.on_optimizer_step(None, state, None)
        optimizer.zero_grad()
        yield adapters


def trained(model: nn.Module, *, method: Any = "lora", steps: int = 8, **settings: Any) -> Adapters:
    adapters = with_adapters(model, Adapter(method=method, rank=2, **settings), steps=steps)
    return list(walk(adapters, steps))[-1]


def ranks(model: nn.Module) -> int:
    return sum(int((value != 0).sum()) for name, value in model.named_parameters() if "lora_E" in name)


def learn(model: nn.Module, folder: Path, work: Path, data: Examples = DATA, **settings: Any) -> dict[str, float]:
    rows = TrainingData(examples=data, encoder=open_encoder(folder, max_length=tiny.MAX_LENGTH))
    return train(
        model,
        objective=labels_alone(),
        data=rows,
        validation=rows,
        settings=SETTINGS.model_copy(update=settings),
        work=work,
        description="student",
    )


@pytest.mark.parametrize("method", METHODS)
def test_untrained_adapters_change_no_answer(model: nn.Module, method: Any) -> None:
    before = logits(model)

    with_adapters(model, Adapter(method=method), steps=8)

    assert_close(logits(model), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_adapters_and_head_alone_are_trained(model: nn.Module, method: Any) -> None:
    with_adapters(model, Adapter(method=method), steps=8)

    free = {name for name, one in model.named_parameters() if one.requires_grad}

    assert {name for name in free if ".lora_" not in name} == {"classifier.weight", "classifier.bias"}
    assert {name.partition(".lora_")[0] for name in free} >= {"bert.pooler.dense", "bert.encoder.layer.3.output.dense"}
    assert not any("embedding" in name for name in free)


def test_attention_alone_can_be_adapted(model: nn.Module) -> None:
    with_adapters(model, Adapter(targets="attention"), steps=8)

    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}

    assert len(adapted) == 4 * 4
    assert all(".attention." in name for name in adapted)


@pytest.mark.parametrize("method", METHODS)
def test_the_merged_model_answers_as_the_adapted_one(folder: Path, model: nn.Module, method: Any) -> None:
    plain = load_model(folder)

    adapters = trained(model, method=method)
    adapted = logits(model)
    result = merged(adapters)

    assert result is model
    assert type(model) is type(plain)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(one.requires_grad for one in model.parameters())
    assert not hasattr(model, "peft_config")
    assert_close(logits(model), adapted, atol=1e-5, rtol=0)
    assert not torch.allclose(adapted, logits(plain), atol=1e-2)


def test_an_objective_hears_the_adapted_queries(folder: Path, model: nn.Module) -> None:
    arrays = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}

    adapters = trained(model)
    heard = [observe(one.eval(), arrays, names=["query.0"])["query.0"] for one in (model, load_model(folder))]
    after = observe(merged(adapters).eval(), arrays, names=["query.0"])["query.0"]

    assert_close(heard[0], after, atol=1e-5, rtol=0)
    assert not torch.allclose(heard[0], heard[1], atol=1e-3)


def test_the_ranks_of_adalora_fall_to_their_mean(model: nn.Module) -> None:
    adapters = with_adapters(model, Adapter(method="adalora", rank=2), steps=20)
    layers = 4 * 6 + 1

    counted = [ranks(one.model) for one in walk(adapters, 20)]

    assert counted[:2] == [3 * layers] * 2
    assert counted[13:] == [2 * layers] * 7
    assert sorted(counted, reverse=True) == counted


def test_the_ranks_of_adalora_go_where_they_are_of_use(model: nn.Module) -> None:
    trained(model, method="adalora", steps=20)

    kept = {int((one != 0).sum()) for name, one in model.named_parameters() if "lora_E" in name}

    assert len(kept) > 1


def test_the_factors_of_adalora_become_orthogonal(model: nn.Module) -> None:
    def apart() -> float:
        rows = [one.detach() for name, one in model.named_parameters() if "lora_A" in name]
        return sum(float((one @ one.T - torch.eye(3)).norm()) for one in rows)

    adapters = with_adapters(model, Adapter(method="adalora", rank=2), steps=20)
    before = apart()
    list(walk(adapters, 20))

    assert apart() < 0.8 * before


def test_adalora_trains_layers_that_the_objective_does_not_reach(model: nn.Module) -> None:
    adapters = with_adapters(model, Adapter(method="adalora", rank=2), steps=2)
    (callback,) = adapters.callbacks

    model(input_ids=IDS, output_hidden_states=True).hidden_states[1].square().sum().backward()
    callback.on_pre_optimizer_step(None, SimpleNamespace(global_step=0), None)
    callback.on_optimizer_step(None, SimpleNamespace(global_step=0), None)

    assert all(one.grad is not None for name, one in model.named_parameters() if ".lora_" in name)


def test_a_checkpoint_carries_what_adalora_knows_of_its_weights(folder: Path, model: nn.Module) -> None:
    trained(model, method="adalora", steps=6)  # the last cut is in step 5, and forgets
    trained(another := load_model(folder), method="adalora", steps=20)
    adapters = with_adapters(load_model(folder), Adapter(method="adalora", rank=2), steps=20)
    *_, _last = itertools.islice(walk(adapters, 20), 8)
    before_the_cut, after_it = adapters.model.state_dict(), model.state_dict()

    for state in (before_the_cut, after_it, before_the_cut):
        another.load_state_dict(state)
        assert_close(dict(another.state_dict()), dict(state))

    known = [name for name in before_the_cut if name.startswith("adalora.")]
    assert len(known) == 2 * 3 * (4 * 6 + 1)
    assert not any(name.startswith("adalora.") for name in after_it)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_adalora_stands_the_shortest_training(model: nn.Module, steps: int) -> None:
    adapters = trained(model, method="adalora", steps=steps)
    adapted = logits(model)

    assert_close(logits(merged(adapters)), adapted, atol=1e-5, rtol=0)


def test_what_was_fixed_before_is_fixed_again(model: nn.Module) -> None:
    fixed = next(name for name, _ in model.named_parameters() if "position_embeddings" in name)
    model.get_parameter(fixed).requires_grad_(False)

    plain = merged(trained(model))

    assert {name for name, weight in plain.named_parameters() if not weight.requires_grad} == {fixed}


@pytest.mark.parametrize("method", METHODS)
def test_training_teaches_the_contrary_and_ends_in_a_plain_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    model, losses = load_model(checkpoint), watch_losses(monkeypatch)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    contrary = [(1 - target,) for (target,) in DATA.targets]

    metrics = learn(
        model,
        checkpoint,
        tmp_path,
        data=tiny.examples(DATA.inputs, contrary, tiny.SINGLE),
        adapter=Adapter(method=method, rank=4, dropout=0.1),
        epochs=20,
    )

    end = model.state_dict()
    moved = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert losses[0] > 1
    assert losses[-1] < 0.3
    assert metrics["accuracy"] == 1
    assert list(end) == list(start)
    assert moved == {name for name in start if name.startswith("classifier.") or _is_linear(model, name)}


def watch_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every step from here on."""
    real, losses = DistillTrainer.compute_loss, list[float]()

    def watched(self: DistillTrainer, *args: Any, **named: Any) -> Tensor:
        loss = real(self, *args, **named)
        losses.append(float(loss))
        return loss

    monkeypatch.setattr(DistillTrainer, "compute_loss", watched)
    return losses


def _is_linear(model: nn.Module, weight: str) -> bool:
    return weight.endswith(".weight") and isinstance(model.get_submodule(weight.removesuffix(".weight")), nn.Linear)


def test_a_training_without_adapters_moves_everything(folder: Path, model: nn.Module, tmp_path: Path) -> None:
    before = model.get_input_embeddings().weight.detach().clone()  # type: ignore[operator]

    learn(model, folder, tmp_path, adapter=None, epochs=1)

    assert not torch.equal(model.get_input_embeddings().weight, before)  # type: ignore[operator]


def test_the_seed_alone_decides_how_adapters_start(folder: Path, tmp_path: Path) -> None:
    first, again = load_model(folder), load_model(folder)

    learn(first, folder, tmp_path / "1", epochs=1)
    torch.rand(1)
    learn(again, folder, tmp_path / "2", epochs=1)

    assert_close(logits(first), logits(again), atol=1e-6, rtol=0)


def test_frozen_word_vectors_still_show_fgm_their_worst_step(folder: Path, model: nn.Module, tmp_path: Path) -> None:
    learn(model, folder, tmp_path, fgm=0.1, epochs=1)

    assert not model.get_input_embeddings()._forward_hooks  # type: ignore[operator]


@pytest.mark.parametrize(("method", "epochs"), [("lora", 2), ("adalora", 3)])
def test_an_interrupted_training_goes_on_to_the_same_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, epochs: int
) -> None:
    # Of the 8 steps adalora's last cut is the 6th, the last of the third epoch.
    scores = iter(range(1, 100))
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *_, **__: {"accuracy": float(next(scores))})
    settings = {"adapter": Adapter(method=method, rank=2, alpha=200)}
    whole, killed, resumed = (load_model(folder) for _ in range(3))
    learn(whole, folder, tmp_path / "whole", **settings)
    real = DistillTrainer.compute_loss

    def interrupted(self: DistillTrainer, *args: Any, **named: Any) -> Any:
        if self.state.global_step > STEPS * epochs:
            raise KeyboardInterrupt
        return real(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(DistillTrainer, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn(killed, folder, tmp_path / "work", **settings)
    learn(resumed, folder, tmp_path / "work", **settings)

    others = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert_close(value, others[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "fault", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"method": "dora"}, {"targets": "mlp"}, {"r": 8}]
)
def test_settings_that_make_no_sense_are_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Adapter.model_validate(fault)


def test_a_model_of_our_own_kind_is_refused(folder: Path) -> None:
    student = build_student(tiny.BILSTM, teacher=load_model(folder), teacher_folder=folder, labels=tiny.SINGLE, seed=0)

    with pytest.raises(RecipeError, match=r"distill\.adapter.* is a bilstm") as caught:
        with_adapters(student, Adapter(), steps=8)
    assert "transformer" in caught.value.hint


def test_a_model_without_a_head_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="a transformer with a head, the student is a bertmodel"):
        with_adapters(AutoModel.from_pretrained(folder), Adapter(), steps=8)


def test_a_model_without_attention_has_none_to_adapt(model: nn.Module) -> None:
    model.bert.encoder.layer = nn.ModuleList()  # type: ignore[union-attr]

    with pytest.raises(RecipeError, match=r"distill\.adapter\.targets attention") as caught:
        with_adapters(model, Adapter(targets="attention"), steps=8)
    assert caught.value.hint == "choose targets: all"


def test_without_peft_the_extra_is_named(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(MissingExtraError, match=r"distill\.adapter") as caught:
        with_adapters(model, Adapter(), steps=8)
    assert "kd-deploy[distill]" in caught.value.hint
    with pytest.raises(MissingExtraError, match=r"distill\.adapter"):
        check_recipe(recipe(PLAIN))


ADAPTED: dict[str, Any] = {"adapter": {"method": "adalora"}}
PLAIN = {"architecture": "transformer", "layers": 2}


def recipe(student: dict[str, Any], distill: Any = ADAPTED) -> Recipe:
    return Recipe.of(
        {
            "version": 1,
            "task": "text-classification",
            "teacher": {"scratch": {"hidden_size": 32, "attention_heads": 4}, "finetune": {}},
            "student": student,
            "distill": distill,
        }
    )


@pytest.mark.parametrize("architecture", ["bilstm", "static"])
def test_adapters_for_another_student_are_refused_before_training(architecture: str) -> None:
    with pytest.raises(RecipeError, match=rf"distill\.adapter: adalora .* is {architecture}") as caught:
        check_recipe(recipe({"architecture": architecture}))
    assert "student.architecture: transformer" in caught.value.hint


@pytest.mark.parametrize("sizes", [{"init": "random"}, {"hidden_size": 16}, {"intermediate_size": 512}])
def test_adapters_beside_random_weights_are_refused_before_training(sizes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"distill\.adapter: adalora .* at random") as caught:
        check_recipe(recipe({"architecture": "transformer"} | sizes))
    assert "student.init: teacher" in caught.value.hint


def test_a_later_stage_adapts_what_an_earlier_one_has_trained() -> None:
    check_recipe(recipe({"architecture": "transformer", "hidden_size": 16}, distill=[{}, ADAPTED]))


def test_a_later_stage_cannot_adapt_another_student_either() -> None:
    with pytest.raises(RecipeError, match=r"distill\.adapter: adalora"):
        check_recipe(recipe({"architecture": "static"}, distill=[{}, ADAPTED]))


@pytest.mark.parametrize(
    "sizes", [{}, {"layers": 1}, {"intermediate_size": 40}, {"hidden_size": 32, "attention_heads": 4}]
)
def test_adapters_beside_the_teachers_weights_are_welcome(sizes: dict[str, Any]) -> None:
    check_recipe(recipe({"architecture": "transformer"} | sizes))


def state(model: nn.Module) -> Tensor:
    pair = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}  # type: ignore[union-attr]
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS), **pair).logits
    return found


def family(kind: str) -> nn.Module:
    """A small model of a family in which adapters were not at home."""
    torch.manual_seed(0)
    if kind == "embedder":
        sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 2}
        return embedder(BertModel(BertConfig(vocab_size=64, **sizes)), Pooling())
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
        )
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))


@pytest.mark.parametrize("targets", ["all", "attention"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["embedder", "t5", "gpt2"])
def test_other_families_are_adapted_and_merged(
    kind: str, method: Any, targets: Any, recwarn: pytest.WarningsRecorder
) -> None:
    model = family(kind)
    names, before = list(model.state_dict()), state(model)

    adapters = with_adapters(model, Adapter(method=method, rank=2, targets=targets), steps=8)
    assert_close(state(model), before, atol=1e-6, rtol=0)
    free = {name for name, one in model.named_parameters() if one.requires_grad}
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one.normal_(std=0.2)
    adapted = state(model)
    merged(adapters)

    assert {name for name in free if ".lora_" not in name} == set()
    assert list(model.state_dict()) == names
    assert_close(state(model), adapted, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(adapted, before, atol=5e-3)
    assert not [one for one in recwarn if "fan_in_fan_out" in str(one.message)]


def adapted_task(task: str, folder: Path, **sections: Any) -> Recipe:
    document = {"version": 1, "task": task, "data": {"max_length": tiny.MAX_LENGTH}, "distill": ADAPTED}
    return Recipe.of(document | {"teacher": {"model": str(folder)}, "student": PLAIN} | sections)


def test_adapters_for_vectors_of_sentences_are_welcome(folder: Path) -> None:
    check_recipe(adapted_task("sentence-embedding", folder))


@pytest.mark.parametrize("task", ["text-generation", "text2text"])
def test_adapters_for_writers_are_welcome(task: str, tmp_path: Path) -> None:
    check_recipe(
        Recipe.of(
            {
                "version": 1,
                "task": task,
                "teacher": {"scratch": {"hidden_size": 32, "attention_heads": 4}, "finetune": {}},
                "distill": ADAPTED,
            }
        )
    )


def test_a_start_that_is_no_transformer_is_refused(folder: Path, tmp_path: Path) -> None:
    bilstm = tiny.write_bilstm(tmp_path / "bilstm", folder, DATA)

    with pytest.raises(RecipeError, match=r"student\.init: .*bilstm is no transformer"):
        check_recipe(
            adapted_task(
                "text-classification", folder, student={"architecture": "transformer", "init": str(bilstm.path)}
            )
        )


def test_a_start_without_such_layers_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(folder, tmp_path / "mixer"))
    FNetConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=2, vocab_size=200).save_pretrained(start)
    distill = {"adapter": {"method": "lora", "targets": "attention"}}

    with pytest.raises(RecipeError, match=r"distill\.adapter\.targets attention: a FNetForSequence") as caught:
        check_recipe(
            adapted_task(
                "text-classification",
                folder,
                student={"architecture": "transformer", "init": str(start)},
                distill=distill,
            )
        )
    assert caught.value.hint == "choose targets: all"
