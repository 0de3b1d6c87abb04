"""How models that write are taught: what a decoder is given, what counts, where students start and where they go."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kd_deploy.distill import trainer as trainer_module
from kd_deploy.distill.checkpoints import load_model, save_model
from kd_deploy.distill.judging import evaluate_model
from kd_deploy.distill.learner import TEACHER, WRITTEN, Aim, Learner
from kd_deploy.distill.observe import Shape, observe, shape_of
from kd_deploy.distill.rows import Collate, Rows, TrainingData, before
from kd_deploy.distill.signals import LiveTeacher
from kd_deploy.distill.students.build import build_student
from kd_deploy.distill.students.writers import lstm_writer
from kd_deploy.distill.terms import Ground, Objective, build_objective, labels_alone
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.distill.trainer import train
from kd_deploy.distill.vocabulary_head import only_at
from kd_deploy.recipe import HardLabels, LstmStudent, Recipe, SoftTargets, Training, TransformerStudent
from kd_deploy.recipe.objective import Hidden
from kd_deploy.tasks.encoding import Marks
from kd_deploy.tasks.registry import TASKS
from kd_deploy.tasks.splits import read_splits
from kd_deploy.tasks.task import NO_DECISION, LabelSpace
from tests import tiny_writers
from tests.runtime.generation.fakes import PAD, START, encoder_of
from tests.runtime.generation.models import VOCABULARY, encoder_for, random_lstm, random_model

NONE = NO_DECISION
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    **{kind: partial(random_model, kind) for kind in ("gpt2", "bart", "marian", "t5")},
    "lstm": random_lstm,
    "lstm told": partial(random_lstm, input_feeding=True),
}
BARE = Shape(name="any", depth=0, width=0, embedding_width=0, heads=None)
ALL = TransformerStudent(layers=2)

Batch = dict[str, Any]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return FAMILIES[request.param]().eval()


def drawn(model: nn.Module, *, longer: int = 0) -> Batch:
    """Two rows of other lengths, and as much more padding as is asked for."""
    rng, pair = np.random.default_rng(1), WRITTEN in input_names(model)
    lengths, written = (7, 4), (5, 3) if pair else (7, 4)
    ids = torch.full((2, max(lengths) + longer), PAD)
    targets = torch.full((2, max(written) + longer), NONE)
    for row, (many, wanted) in enumerate(zip(lengths, written, strict=True)):
        ids[row, :many] = torch.from_numpy(rng.integers(3, VOCABULARY, size=many))
        targets[row, :wanted] = torch.from_numpy(rng.integers(3, VOCABULARY, size=wanted))
    mask = (torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]).long()
    batch = {"input_ids": ids, "attention_mask": mask, "targets": targets}
    return batch | ({WRITTEN: before(targets, encoder_for("bart"))} if pair else {})


def taught(batch: Batch, teacher: nn.Module, *names: str) -> Batch:
    """The batch with what a teacher says of it."""
    live = LiveTeacher(teacher, ("logits", *names), chosen="fp32", narrow=True)
    return batch | {TEACHER + name: value.float() for name, value in live.signal(batch).items()}


def learner(model: nn.Module, objective: Objective, *, narrow: bool = True) -> Learner:
    return Learner(model, [Aim(objective=objective, level="token", narrow=narrow)])


def of_answers() -> Objective:
    terms = [SoftTargets(term="soft_targets", weight=0.5), HardLabels(term="hard_labels", weight=0.5)]
    return build_objective(terms, Ground(student=BARE, teacher=BARE, level="token"))


def of_layers(student: nn.Module, teacher: nn.Module, *, layers: str = "uniform") -> Objective:
    ground = Ground(student=shape_of(student), teacher=shape_of(teacher), level="token")
    return build_objective([Hidden(term="hidden", layers=layers)], ground)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


def test_a_decoder_is_given_the_targets_moved_by_one() -> None:
    targets = torch.tensor([[5, 6, 7, 2], [8, 2, NONE, NONE]])

    given = before(targets, encoder_for("bart"))

    assert given.tolist() == [[START, 5, 6, 7], [START, 8, 2, PAD]]
    assert targets.tolist() == [[5, 6, 7, 2], [8, 2, NONE, NONE]]


def test_further_start_marks_stand_where_nothing_is_decided() -> None:
    encoder = replace(encoder_for("bart"), marks=Marks(starts=(2, 9), ends=(2,)))

    given = before(torch.tensor([[NONE, 5, 6, 2], [NONE, 7, 2, NONE]]), encoder)

    assert given.tolist() == [[2, 9, 5, 6], [2, 9, 7, 2]]


def test_padding_is_given_by_its_own_id() -> None:
    encoder = replace(encoder_of(encoder_for("bart").tokenizer, starts=(4,)), pad_id=11)

    assert before(torch.tensor([[5, 2, NONE], [NONE, NONE, NONE]]), encoder).tolist() == [[4, 5, 2], [4, 11, 11]]


def test_rows_of_a_pair_are_collated_with_what_the_decoder_is_given(base: Path) -> None:
    rows, encoder = rows_of("bart", base)

    batch = Collate(encoder, ("input_ids", "attention_mask", WRITTEN))([rows[0], rows[1], rows[2]])

    for row in range(3):
        wanted = rows[row]["target"].tolist()
        assert batch["targets"][row].tolist() == wanted + [NONE] * (batch["targets"].shape[1] - len(wanted))
        assert batch[WRITTEN][row, : len(wanted)].tolist() == [*encoder.marks.starts, *wanted[:-1]]
        assert wanted[-1] == encoder.marks.ends[0]
        assert encoder.tokenizer.decode(wanted) == str(examples_of("bart", base).targets[row])


def test_a_language_model_is_to_say_the_next_token_and_the_end(base: Path) -> None:
    rows, encoder = rows_of("gpt2", base)

    batch = Collate(encoder, ("input_ids", "attention_mask"))([rows[0], rows[1]])

    for row in range(2):
        ids = rows[row]["encoded"].ids
        assert batch["targets"][row, : len(ids)].tolist() == [*ids[1:], encoder.marks.ends[0]]
        assert set(batch["targets"][row, len(ids) :].tolist()) <= {NONE}
    assert WRITTEN not in batch


@pytest.mark.parametrize("longer", [1, 9])
def test_padding_has_no_loss(model: nn.Module, longer: int) -> None:
    torch.manual_seed(1)
    teacher = type(model)(model.sizes) if hasattr(model, "sizes") else type(model)(model.config)
    objective = of_answers()

    losses = [learner(model, objective)(taught(drawn(model, longer=more), teacher.eval())) for more in (0, longer)]

    assert_close(losses[1], losses[0])
    assert losses[0] > 0.1


def test_every_decision_counts_alike(model: nn.Module) -> None:
    batch = drawn(model)
    decided = (batch["targets"] != NONE).sum(dim=1)

    whole = learner(model, labels_alone())(batch)
    alone = [learner(model, labels_alone())({name: one[[row]] for name, one in batch.items()}) for row in (0, 1)]

    assert decided[0] != decided[1]
    assert_close(whole, sum(loss * count for loss, count in zip(alone, decided, strict=True)) / decided.sum())


@pytest.mark.parametrize("kind", ["labels", "answers"])
def test_a_head_on_decided_tokens_alone_gives_the_same_loss(model: nn.Module, kind: str) -> None:
    batch, objective = drawn(model), labels_alone() if kind == "labels" else of_answers()
    if kind == "answers":
        batch = taught(batch, model)
        batch[TEACHER + "logits"] = batch[TEACHER + "logits"].roll(1, dims=-1)

    losses, found = [], []
    for narrow in (False, True):
        losses.append(learner(model, objective, narrow=narrow)(batch))
        losses[-1].backward()
        found.append(gradients(model))

    assert_close(losses[1], losses[0])
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert_close(found[1][name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert any(one.abs().max() > 0 for one in found[0].values())


def test_logits_at_some_tokens_are_rows_of_all_logits(model: nn.Module) -> None:
    batch = drawn(model)
    arrays = {name: batch[name] for name in input_names(model)}
    kept = batch["targets"] != NONE
    with torch.no_grad():
        whole = model(**arrays).logits
        with only_at(model, kept):
            narrow = model(**arrays).logits
        again = model(**arrays).logits

    assert narrow.shape == (1, int(kept.sum()), VOCABULARY)
    assert_close(narrow[0], whole[kept])
    assert_close(again, whole, atol=0, rtol=0)


def test_layers_that_are_shown_are_the_decoders(model: nn.Module) -> None:
    batch = drawn(model)
    arrays = {name: batch[name] for name in input_names(model)}
    shape = shape_of(model)
    names = [f"hidden.{layer}" for layer in range(shape.depth)]

    with torch.no_grad():
        shown = observe(model, arrays, names=[*names, "embedding"])

    for name in names:
        assert shown[name].shape == (*batch["targets"].shape, shape.width)
    assert shown["embedding"].shape == (*batch["targets"].shape, shape.embedding_width)


@pytest.mark.parametrize("kind", ["gpt2", "bart", "marian", "t5"])
def test_a_term_over_layers_is_zero_for_the_teacher_itself_and_sees_no_padding(kind: str) -> None:
    teacher, other = random_model(kind), random_model(kind, seed=9)
    objective = of_layers(teacher, teacher)
    names = [f"hidden.{layer}" for layer in range(2)]

    same = learner(teacher, objective)(taught(drawn(teacher), teacher, *names))
    losses = [learner(other, objective)(taught(drawn(other, longer=more), teacher, *names)) for more in (0, 6)]

    assert same < 1e-4  # a teacher's layers are rounded to half precision
    assert losses[0] > 100 * same
    assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)


def test_a_term_over_layers_teaches_a_recurrent_decoder() -> None:
    student, teacher = random_lstm(), random_model("bart")
    objective = of_layers(student, teacher, layers="top")

    learner(student, objective)(taught(drawn(student), teacher, "hidden.1")).backward()

    found = gradients(student)
    assert found["attend.weight"].abs().max() > 0
    assert found["decoder.weight_hh_l0"].abs().max() > 0
    assert "bias" not in found or found["bias"].abs().max() == 0  # the head is not a layer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def test_an_lstm_begins_from_its_bundle_as_it_was_taught_to(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_writers.ran("bart", base) / "teacher", tmp_path / "teacher"))
    config = json.loads((folder / "config.json").read_text()) | {"forced_bos_token_id": 7}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink(missing_ok=True)
    (tmp_path / "made").mkdir()

    student = lstm_writer(LstmStudent(architecture="lstm", hidden_size=8), vectors=torch.randn(367, 8), folder=folder)
    labels = LabelSpace(task="text2text", names=TASKS["text2text"].NAMES or (), problem_type="regression")
    save_model(student, tmp_path / "made", labels=labels, max_length=9, tokenizer_from=folder)

    starts = open_encoder(folder, max_length=9).marks.starts
    assert (len(starts), starts[1]) == (2, 7)
    assert open_encoder(tmp_path / "made", max_length=9).marks.starts == starts
    assert load_model(tmp_path / "made").sizes.forced_bos_token_id == 7  # type: ignore[union-attr]


def recipe_of(kind: str, base: Path) -> Recipe:
    return Recipe.of(tiny_writers.run_document(kind, base))


def examples_of(kind: str, base: Path, *, split: str = "train") -> Any:
    recipe = recipe_of(kind, base)
    return getattr(read_splits(recipe.data, task=TASKS[recipe.task]), split)


def data_of(kind: str, base: Path, *, split: str) -> TrainingData:
    encoder = open_encoder(tiny_writers.ran(kind, base) / "teacher", max_length=tiny_writers.LENGTH)
    return TrainingData(
        examples=examples_of(kind, base, split=split), encoder=encoder, generation=recipe_of(kind, base).generation
    )


def rows_of(kind: str, base: Path) -> tuple[Rows, Any]:
    data = data_of(kind, base, split="train")
    return Rows(data), data.encoder


def start_of(kind: str, base: Path, *, settings: TransformerStudent | LstmStudent | None = None) -> nn.Module:
    """A student as it starts from the teacher of the run."""
    recipe, folder = recipe_of(kind, base), tiny_writers.ran(kind, base) / "teacher"
    return build_student(
        settings or recipe.student,
        teacher=load_model(folder),
        teacher_folder=folder,
        labels=examples_of(kind, base).labels,
        seed=recipe.stages[0].seed,
    ).eval()


@torch.no_grad()
def distance(student: nn.Module, teacher: nn.Module, data: TrainingData) -> float:
    """How far the student's next tokens are from the teacher's, over held-out rows."""
    rows = Rows(data)
    names = sorted({*input_names(student), *input_names(teacher)})
    batch = Collate(data.encoder, names)([rows[row] for row in range(len(rows))])
    term = build_objective(
        [SoftTargets(term="soft_targets", temperature=1.0)], Ground(student=BARE, teacher=BARE, level="token")
    )
    return float(learner(student.eval(), term)(taught(batch, teacher)))


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_a_student_of_all_layers_is_worth_what_its_teacher_is(kind: str, base: Path) -> None:
    student, teacher = start_of(kind, base, settings=ALL), load_model(tiny_writers.ran(kind, base) / "teacher")
    data = data_of(kind, base, split="validation")

    ours, theirs = (evaluate_model(one, data, number_format="fp32") for one in (student, teacher))

    assert ours == pytest.approx(theirs, rel=1e-6)
    assert distance(student, teacher, data) < 1e-5
    assert tiny_writers.METRIC[kind] in ours


@pytest.mark.parametrize("kind", tiny_writers.KINDS)
def test_a_distilled_student_is_nearer_to_its_teacher_than_at_its_start(kind: str, base: Path) -> None:
    folder = tiny_writers.ran(kind, base)
    teacher, data = load_model(folder / "teacher"), data_of(kind, base, split="test")

    start = distance(start_of(kind, base), teacher, data)
    end = distance(load_model(folder / "student"), teacher, data)

    assert end < 0.5 * start


@pytest.mark.parametrize(("scores", "kept"), [((9.0, 5.0, 7.0), 2), ((5.0, 7.0, 9.0), 1), ((9.0, 7.0, 5.0), 3)])
def test_the_epoch_of_the_lowest_perplexity_is_kept(
    scores: tuple[float, ...], kept: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, told, weights = start_of("gpt2", base), iter((*scores, 0.0)), []

    def judged(model: nn.Module, *_: object, **__: object) -> dict[str, float]:
        weights.append({name: one.detach().clone() for name, one in model.state_dict().items()})
        return {"perplexity": next(told)}

    monkeypatch.setattr(trainer_module, "evaluate_model", judged)
    data = data_of("gpt2", base, split="train")
    few = replace(data, examples=data.examples.some(range(16)))

    train(
        model,
        objective=labels_alone(),
        data=few,
        validation=few,
        settings=Training(epochs=3, batch_size=8, learning_rate=1e-2, precision="fp32"),
        work=tmp_path,
        description="student",
    )

    assert len(weights) == 4  # after each epoch, and at the end
    assert_close(model.state_dict(), weights[kept - 1])
    heads = [one["lm_head.weight"] for one in weights[:3]]
    assert all((one != heads[kept - 1]).any() for epoch, one in enumerate(heads, start=1) if epoch != kept)
