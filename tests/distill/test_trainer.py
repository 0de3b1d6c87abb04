"""Short trainings for real: that they learn, stop, go on, and keep the best."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from transformers import TrainingArguments
from transformers.trainer_utils import SaveStrategy

from kd_deploy.distill import trainer as trainer_module
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.judging import evaluate_model
from kd_deploy.distill.learner import Learner
from kd_deploy.distill.memory import enough_memory
from kd_deploy.distill.observe import Shape, word_vectors
from kd_deploy.distill.precision import choose_format, has_bf16
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.signals import LOGITS, Signals
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.terms import Ground, build_objective, labels_alone
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.distill.trainer import DistillTrainer, train
from kd_deploy.distill.training_arguments import training_arguments
from kd_deploy.distill.word_table import TableAdamW
from kd_deploy.errors import TrainingError
from kd_deploy.progress import reporting_to
from kd_deploy.recipe import BilstmStudent, SoftTargets, Training, TransformerStudent
from kd_deploy.tasks.task import Examples
from tests import tiny
from tests.heard import Heard

SETTINGS = tiny.SETTINGS.model_copy(update={"epochs": 3, "learning_rate": 2e-2})
ROWS, STEPS = 160, 10  # rows in an epoch, batches in it
SMALL = BilstmStudent(architecture="bilstm", hidden_size=16, head_size=16, dropout=0.1)
BARE = Shape(name="any", depth=0, width=0, embedding_width=0, heads=None)
GROUND = Ground(student=BARE, teacher=BARE)
HALF = TransformerStudent(layers=2)


def student(checkpoint: Path, kind: BilstmStudent | TransformerStudent = SMALL) -> nn.Module:
    teacher = load_model(checkpoint)
    return build_student(kind, teacher=teacher, teacher_folder=checkpoint, labels=tiny.SINGLE, seed=0)


def rows_of(checkpoint: Path, examples: Examples, logits: Any = None) -> TrainingData:
    encoder = open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    signals = None if logits is None else Signals(rows={LOGITS: logits}, computed=0, reused=len(logits))
    return TrainingData(examples=examples, encoder=encoder, signals=signals)


def learn(model: nn.Module, checkpoint: Path, work: Path, *, logits: Any = None, **settings: Any) -> dict[str, float]:
    return train(
        model,
        objective=labels_alone() if logits is None else build_objective([SoftTargets(term="soft_targets")], GROUND),
        data=rows_of(checkpoint, tiny.single_label(ROWS, seed=5), logits),
        validation=rows_of(checkpoint, tiny.single_label(40, seed=6)),
        settings=SETTINGS.model_copy(update=settings),
        work=work,
        description="student",
    )


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    others = right.state_dict()
    return all(torch.allclose(value, others[name], atol=1e-6) for name, value in left.state_dict().items())


def test_labels_alone_teach_a_separable_task(checkpoint: Path, tmp_path: Path) -> None:
    model = student(checkpoint)

    metrics = learn(model, checkpoint, tmp_path)

    assert metrics["accuracy"] > 0.9
    assert evaluate_model(model, rows_of(checkpoint, tiny.single_label(60, seed=7)), number_format="fp32")["f1"] > 0.9
    assert not model.training


def test_the_teachers_logits_alone_teach_it_too(checkpoint: Path, tmp_path: Path) -> None:
    targets = np.array(tiny.single_label(ROWS, seed=5).targets)[:, 0]
    logits = np.where(targets[:, None] == np.arange(2), 4.0, -4.0).astype(np.float32)

    assert learn(student(checkpoint), checkpoint, tmp_path, logits=logits)["accuracy"] > 0.9


def test_a_teacher_is_believed_over_the_labels(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = np.array(tiny.single_label(ROWS, seed=5).targets)[:, 0]
    contrary = np.where(targets[:, None] == np.arange(2), -4.0, 4.0).astype(np.float32)
    model = student(checkpoint)

    with monkeypatch.context() as patch:
        always_better(patch)
        learn(model, checkpoint, tmp_path, logits=contrary)
    right = evaluate_model(model, rows_of(checkpoint, tiny.single_label(ROWS, seed=5)), number_format="fp32")

    assert right["accuracy"] < 0.1


def test_several_labels_are_learned(tmp_path: Path) -> None:
    data = tiny.multi_label(160, seed=0)
    folder = tiny.write_checkpoint(tmp_path / "bert", data, trained=False)
    model = build_student(SMALL, teacher=load_model(folder), teacher_folder=folder, labels=tiny.MULTI, seed=0)
    rows = TrainingData(examples=data, encoder=open_encoder(folder, max_length=tiny.MAX_LENGTH))

    metrics = train(
        model,
        objective=labels_alone(),
        data=rows,
        validation=rows,
        settings=SETTINGS.model_copy(update={"epochs": 12}),
        work=tmp_path / "work",
        description="student",
    )

    assert metrics["f1"] > 0.9


def test_the_same_seed_gives_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    first, again, other = student(checkpoint), student(checkpoint), student(checkpoint)

    learn(first, checkpoint, tmp_path / "1", epochs=1)
    learn(again, checkpoint, tmp_path / "2", epochs=1)
    learn(other, checkpoint, tmp_path / "3", epochs=1, seed=1)

    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_small_batches_accumulated_are_one_large_batch(checkpoint: Path, tmp_path: Path) -> None:
    still = SMALL.model_copy(update={"dropout": 0.0})
    large, small = student(checkpoint, still), student(checkpoint, still)

    learn(large, checkpoint, tmp_path / "1", epochs=1, batch_size=16, learning_rate=1e-3)
    learn(small, checkpoint, tmp_path / "2", epochs=1, batch_size=8, gradient_accumulation=2, learning_rate=1e-3)

    others = small.state_dict()
    assert all(torch.allclose(value, others[name], atol=1e-4) for name, value in large.state_dict().items())


def test_a_loss_that_is_no_number_names_the_step(checkpoint: Path, tmp_path: Path) -> None:
    logits = np.zeros((ROWS, 2), dtype=np.float32)
    logits[:] = np.nan

    with pytest.raises(TrainingError, match="the loss is nan at step 1") as caught:
        learn(student(checkpoint), checkpoint, tmp_path, logits=logits)
    assert "learning rate" in caught.value.hint


@pytest.mark.parametrize("bad", [14, 2 * STEPS], ids=["within an epoch", "last of an epoch"])
def test_a_loss_that_is_no_number_stops_within_three_steps_and_leaves_the_last_checkpoint(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    real, steps = Learner.forward, itertools.count(1)
    made = list[int]()

    def broken(self: Learner, batch: dict[str, torch.Tensor], task: int) -> torch.Tensor:
        made.append(next(steps))
        return real(self, batch, task) * (float("nan") if made[-1] == bad else 1.0)

    monkeypatch.setattr(Learner, "forward", broken)
    with pytest.raises(TrainingError, match=rf"the loss is nan at step {bad}$"):
        learn(student(checkpoint), checkpoint, tmp_path)

    assert bad <= len(made) < bad + 3
    (kept,) = tmp_path.glob("checkpoint-*")
    assert kept.name == f"checkpoint-{STEPS}"
    assert all(torch.isfinite(value).all() for value in load_file(kept / "model.safetensors").values())


def test_weights_that_a_step_spoilt_are_neither_judged_nor_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = TableAdamW.step, itertools.count(1)

    def spoils(self: TableAdamW, *given: Any) -> Any:
        done = real(self, *given)
        if next(steps) == 2 * STEPS:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))
        return done

    monkeypatch.setattr(TableAdamW, "step", spoils)
    with pytest.raises(TrainingError, match=rf"the weight \S+ is no number after step {2 * STEPS}$"):
        learn(student(checkpoint), checkpoint, tmp_path)

    (kept,) = tmp_path.glob("checkpoint-*")
    assert kept.name == f"checkpoint-{STEPS}"


def test_a_schedule_goes_with_the_steps_from_its_start_to_its_end(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, shares = Learner.forward, list[float]()

    def listening(self: Learner, batch: dict[str, torch.Tensor], task: int) -> torch.Tensor:
        shares.append(self.share)
        return real(self, batch, task)

    monkeypatch.setattr(Learner, "forward", listening)
    learn(student(checkpoint), checkpoint, tmp_path, epochs=2)

    np.testing.assert_allclose(shares, np.linspace(0, 1, 2 * STEPS))


def test_a_batch_beyond_the_memory_is_told_in_one_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(Learner, "forward", too_large)
    with pytest.raises(TrainingError, match="student: a batch is too large for the memory") as caught:
        learn(student(checkpoint), checkpoint, tmp_path)
    assert "batch_size" in caught.value.hint


def test_another_fault_of_torch_stays_what_it_is() -> None:
    def wrong() -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"), enough_memory("it", hint=""):
        wrong()


def test_a_gpu_that_emulates_bf16_trains_in_fp32(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # As on a T4 or a V100.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)

    assert not has_bf16()
    assert choose_format("auto", student(checkpoint, HALF)) == "fp32"


def test_bfloat16_by_name_needs_the_hardware(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.distill.precision.has_bf16", lambda: False)

    with pytest.raises(TrainingError, match="bf16"):
        learn(student(checkpoint), checkpoint, tmp_path, precision="bf16")


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch, *, steps: int = 1) -> None:
    """Interrupt the training some steps into a later epoch."""
    real = DistillTrainer.compute_loss

    def interrupted(self: DistillTrainer, *args: Any, **named: Any) -> Any:
        if self.state.global_step >= STEPS * epochs + steps:
            raise KeyboardInterrupt
        return real(self, *args, **named)

    monkeypatch.setattr(DistillTrainer, "compute_loss", interrupted)


def save_every(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write checkpoints within epochs too."""
    real = trainer_module.training_arguments

    def often(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        made.save_strategy, made.save_steps = SaveStrategy.STEPS, steps
        return made

    monkeypatch.setattr(trainer_module, "training_arguments", often)


def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge every epoch above the one before, so that the last one is kept."""
    counted = itertools.count(1)
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *_, **__: {"accuracy": float(next(counted))})


@pytest.mark.parametrize("kind", [SMALL, HALF], ids=["bilstm", "transformer"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_training_goes_on_to_the_same_model(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: BilstmStudent | TransformerStudent,
    epochs: int,
) -> None:
    always_better(monkeypatch)
    whole, killed, resumed = (student(checkpoint, kind) for _ in range(3))
    learn(whole, checkpoint, tmp_path / "whole", learning_rate=1e-3)

    with monkeypatch.context() as patch:
        stop_after(epochs, patch)
        with pytest.raises(KeyboardInterrupt):
            learn(killed, checkpoint, tmp_path / "work", learning_rate=1e-3)
    steps = steps_of(monkeypatch)
    learn(resumed, checkpoint, tmp_path / "work", learning_rate=1e-3)

    assert steps == list(range(epochs * STEPS, 3 * STEPS))
    assert same_weights(whole, resumed)
    assert not same_weights(whole, killed)


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 150}, {"embeddings": "sparse"}], ids=str)
def test_a_training_broken_off_within_an_epoch_goes_on_to_the_same_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    always_better(monkeypatch)
    save_every(4, monkeypatch)
    whole, killed, resumed = (student(checkpoint) for _ in range(3))
    learn(whole, checkpoint, tmp_path / "whole", learning_rate=1e-3, **settings)

    with monkeypatch.context() as patch:
        stop_after(1, patch, steps=7)
        with pytest.raises(KeyboardInterrupt):
            learn(killed, checkpoint, tmp_path / "work", learning_rate=1e-3, **settings)
    steps = steps_of(monkeypatch)
    learn(resumed, checkpoint, tmp_path / "work", learning_rate=1e-3, **settings)

    assert steps[0] == STEPS + 6
    assert same_weights(whole, resumed)
    assert not same_weights(whole, killed)


def test_a_budget_of_tokens_makes_more_steps_of_fewer_rows(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, batches = DistillTrainer.compute_loss, list[torch.Size]()

    def watched(self: DistillTrainer, model: nn.Module, inputs: dict[str, torch.Tensor], **named: Any) -> Any:
        batches.append(inputs["input_ids"].shape)
        return real(self, model, inputs, **named)

    monkeypatch.setattr(DistillTrainer, "compute_loss", watched)
    metrics = learn(student(checkpoint), checkpoint, tmp_path, batch_tokens=100)

    assert max(shape.numel() for shape in batches) <= 100
    assert sum(shape[0] for shape in batches) == 3 * ROWS
    assert len(batches) > 3 * STEPS
    assert metrics["accuracy"] > 0.9


def test_rows_in_small_batches_count_like_others(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = SMALL.model_copy(update={"dropout": 0.0})
    weights = []
    for work, tokens in (("large", None), ("small", 60)):
        model = student(checkpoint, still)
        # A step of plain descent over all rows: the sum of what each of them adds, however they are batched.
        monkeypatch.setattr(trainer_module, "TableAdamW", PlainDescent)
        settings = {"gradient_accumulation": ROWS, "batch_size": ROWS if tokens is None else 16, "weight_decay": 0.0}
        learn(model, checkpoint, tmp_path / work, epochs=1, learning_rate=0.1, batch_tokens=tokens, **settings)
        weights.append(torch.cat([one.detach().flatten() for one in model.parameters()]))

    assert_close(weights[0], weights[1], atol=2e-6, rtol=0)


class PlainDescent(torch.optim.SGD):
    """What is left of the optimiser without its moments."""

    def __init__(self, weights: Any, *, lr: float, **_: object) -> None:
        super().__init__(weights, lr=lr)


@pytest.mark.parametrize("fgm", [0.0, 0.01])
def test_frozen_word_vectors_stay_as_they_are(checkpoint: Path, tmp_path: Path, fgm: float) -> None:
    model = student(checkpoint)
    before = word_vectors(model).weight.detach().clone()

    metrics = learn(model, checkpoint, tmp_path, embeddings="frozen", fgm=fgm)

    assert torch.equal(word_vectors(model).weight, before)
    assert word_vectors(model).weight.requires_grad
    assert not word_vectors(model)._forward_hooks
    assert metrics["accuracy"] > 0.9


def test_frozen_word_vectors_take_no_state(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    real = DistillTrainer.evaluate

    def watched(self: DistillTrainer, *args: object, **named: object) -> dict[str, float]:
        sizes.append(sum(one["exp_avg"].numel() for one in self.optimizer.state.values()))
        return real(self, *args, **named)

    monkeypatch.setattr(DistillTrainer, "evaluate", watched)
    model = student(checkpoint)
    learn(model, checkpoint, tmp_path, embeddings="frozen", epochs=1)

    rest = sum(one.numel() for one in model.parameters()) - word_vectors(model).weight.numel()
    assert sizes == [rest]


def test_word_vectors_updated_row_by_row_learn_too(checkpoint: Path, tmp_path: Path) -> None:
    model = student(checkpoint)
    before = word_vectors(model).weight.detach().clone()

    metrics = learn(model, checkpoint, tmp_path, embeddings="sparse", fgm=0.1)

    moved = (word_vectors(model).weight != before).any(dim=1)
    assert 0 < moved.sum() < len(moved)
    assert metrics["accuracy"] > 0.9


def test_every_epoch_has_an_order_of_its_own(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, batches = DistillTrainer.compute_loss, list[bytes]()

    def watched(self: DistillTrainer, model: nn.Module, inputs: dict[str, torch.Tensor], **named: Any) -> Any:
        batches.append(inputs["input_ids"].numpy().tobytes())
        return real(self, model, inputs, **named)

    monkeypatch.setattr(DistillTrainer, "compute_loss", watched)
    learn(student(checkpoint), checkpoint, tmp_path, epochs=2)

    assert len(batches) == 2 * STEPS
    assert set(batches[:STEPS]) != set(batches[STEPS:])


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every step that is made from here on, from 0."""
    real, seen = DistillTrainer.compute_loss, list[int]()

    def counted(self: DistillTrainer, *args: Any, **named: Any) -> Any:
        seen.append(self.state.global_step)
        return real(self, *args, **named)

    monkeypatch.setattr(DistillTrainer, "compute_loss", counted)
    return seen


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("trainer_state.json", Path.unlink),
        ("trainer_state.json", halve),
        ("model.safetensors", halve),
        ("optimizer.pt", halve),
    ],
)
def test_half_a_checkpoint_is_ignored(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[Path], None]
) -> None:
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            learn(student(checkpoint), checkpoint, tmp_path)
    (written,) = tmp_path.glob("checkpoint-*")
    shutil.copytree(written, tmp_path / "checkpoint-20")
    damage(tmp_path / "checkpoint-20" / name)

    steps = steps_of(monkeypatch)
    metrics = learn(student(checkpoint), checkpoint, tmp_path)

    assert steps == list(range(STEPS, 3 * STEPS))
    assert metrics["accuracy"] > 0.9


def test_a_checkpoint_of_another_number_of_steps_is_ignored(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(student(checkpoint), checkpoint, tmp_path, epochs=1)

    steps = steps_of(monkeypatch)
    with reporting_to(heard := Heard()):
        learn(student(checkpoint), checkpoint, tmp_path, epochs=2)

    assert steps == list(range(2 * STEPS))
    assert f"checkpoint-{STEPS} is of a training of {STEPS} steps, and this one takes {2 * STEPS}" in str(heard.said)


def test_the_best_epoch_is_found_again_where_its_folder_was_moved(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.5])
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *_, **__: {"accuracy": next(scores, 0.9)})
    best = student(checkpoint)
    learn(best, checkpoint, tmp_path / "there", epochs=2)
    (tmp_path / "there").rename(tmp_path / "here")

    steps, again = steps_of(monkeypatch), student(checkpoint)
    learn(again, checkpoint, tmp_path / "here", epochs=2)

    assert steps == []
    assert same_weights(again, best)


def test_checkpoints_count_as_numbers_not_as_text(tmp_path: Path) -> None:
    for step in (8, 16, 120):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text('{"max_steps": 200}')

    assert trainer_module.newest_checkpoint(tmp_path, steps=200) == tmp_path / "checkpoint-120"


def test_the_best_epoch_is_kept(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.7])
    seen: list[dict[str, torch.Tensor]] = []

    def judge(model: nn.Module, *_: object, **__: object) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"accuracy": next(scores, 0.9)}

    monkeypatch.setattr(trainer_module, "evaluate_model", judge)
    model = student(checkpoint)
    learn(model, checkpoint, tmp_path)

    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())
    assert not torch.equal(seen[1]["head.weight"], seen[2]["head.weight"])


def test_patience_ends_a_training_that_gets_no_better(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.8, 0.8])
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *_, **__: {"accuracy": next(scores, 0.9)})
    steps = steps_of(monkeypatch)

    with reporting_to(heard := Heard()):
        learn(student(checkpoint), checkpoint, tmp_path, epochs=6, patience=2)

    assert len(steps) == 4 * STEPS
    assert [one for one in heard.said if "ended after epoch 4 of 6, since no better one" in one]


def test_evaluation_keeps_the_order_of_the_rows(checkpoint: Path) -> None:
    model, data = load_model(checkpoint), tiny.single_label(40, seed=8)
    turned = tiny.examples(data.inputs[::-1], data.targets[::-1], data.labels)

    found = [evaluate_model(model, rows_of(checkpoint, rows), number_format="fp32") for rows in (data, turned)]

    assert found[0] == found[1]
    assert found[0]["accuracy"] > 0.9


def test_accumulated_steps_learn_what_one_large_batch_learns(checkpoint: Path, tmp_path: Path) -> None:
    rows = tiny.single_label(64, seed=3)
    encoder = open_encoder(checkpoint, max_length=tiny.MAX_LENGTH)
    data = TrainingData(examples=rows, encoder=encoder)
    weights = []
    for batch_size, steps in ((32, 1), (16, 2)):
        torch.manual_seed(0)
        model = load_model(checkpoint)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        settings = Training(epochs=1, batch_size=batch_size, gradient_accumulation=steps, precision="fp32")
        work = tmp_path / str(batch_size)
        objective = labels_alone()
        train(model, objective=objective, data=data, validation=data, settings=settings, work=work, description="t")
        weights.append(torch.cat([one.detach().flatten() for one in model.parameters()]))

    assert_close(weights[0], weights[1], atol=2e-5, rtol=0)


def test_patience_counts_the_epochs_before_a_training_was_broken_off(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.8, 0.8])
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *_, **__: {"accuracy": next(scores, 0.9)})
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            learn(student(checkpoint), checkpoint, tmp_path, epochs=6, patience=2)
    steps = steps_of(monkeypatch)

    learn(student(checkpoint), checkpoint, tmp_path, epochs=6, patience=2)

    assert steps == list(range(3 * STEPS, 4 * STEPS))


def test_one_process_trains_on_one_gpu(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda _: 2))

    made = training_arguments(student(checkpoint), SETTINGS, work=tmp_path, metric=None, steps=1)

    assert made._n_gpu == 1  # what Trainer hands to nn.DataParallel
