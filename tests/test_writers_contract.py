"""What every model that writes keeps to: in torch and as graphs, in a batch and alone, saved and opened again."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from kd_deploy import runtime
from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import labels_of, load_model, save_model
from kd_deploy.distill.opening import open_predictor, open_torch
from kd_deploy.errors import UsageError
from kd_deploy.generation import Generation
from kd_deploy.recipe import Recipe
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks.registry import TASKS, scores
from kd_deploy.tasks.splits import read_splits
from kd_deploy.tasks.task import Examples
from kd_deploy.tasks.writing import Written
from tests import tiny_writers
from tests.test_tasks_contract import assert_alike

GREEDY = Generation(max_new_tokens=tiny_writers.NEW)
WAYS = {
    "greedy": GREEDY,
    "beams": GREEDY.model_copy(update={"beams": 3}),
    "no repeats": GREEDY.model_copy(update={"no_repeat_ngram": 2, "repetition_penalty": 1.3}),
}
CACHES = ("key", "value")
STATES = ("hidden", "cell", "attended")
SOURCE = ["input_ids", "encoder_attention_mask", "encoder_hidden_states"]


@dataclass(frozen=True)
class Made:
    """A student with the graphs of every precision, a hundred texts to write for, and rows to be judged by."""

    kind: str
    bundle: Bundle
    prompts: list[str]
    validation: Examples


@pytest.fixture(scope="module", params=tiny_writers.KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.getbasetemp()
    bundle = tiny_writers.student_of(request.param, base)
    recipe = Recipe.of(tiny_writers.run_document(request.param, base))
    return Made(
        kind=request.param,
        bundle=bundle,
        prompts=tiny_writers.prompts(request.param),
        validation=read_splits(recipe.data, task=TASKS[recipe.task]).validation,
    )


def in_torch(folder: Path) -> Predictor:
    return open_predictor(folder, max_length=tiny_writers.LENGTH)


def tokens(written: Sequence[Written]) -> list[tuple[tuple[int, ...], bool]]:
    return [(one.tokens, one.ended) for one in written]


def assert_same(left: Sequence[Written], right: Sequence[Written]) -> None:
    """The same tokens and texts, as likely but for the last digits."""
    assert tokens(left) == tokens(right)
    assert [one.text for one in left] == [one.text for one in right]
    found, expected = ([one.log_probability for one in those] for those in (left, right))
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_graphs_write_greedily_what_torch_writes(made: Made) -> None:
    with in_torch(made.bundle.path) as torch_half, runtime.load(made.bundle, precision="fp32") as graph:
        expected, found = torch_half.writer.write(made.prompts, GREEDY), graph.writer.write(made.prompts, GREEDY)

    assert_same(found, expected)
    assert len(made.prompts) == 100
    assert len({len(one.split()) for one in made.prompts}) > 5
    assert len({one.tokens for one in found}) > 4
    assert any(one.ended for one in found)


@pytest.mark.parametrize("way", WAYS)
def test_a_text_is_the_same_in_a_batch_and_alone(made: Made, way: str) -> None:
    few = [*made.prompts[:16], made.prompts[0]]
    with runtime.load(made.bundle, precision="fp32") as graph:
        together = graph.writer.write(few, WAYS[way])
        alone = [graph.writer.write([one], WAYS[way])[0] for one in few]

    assert_same(together, alone)
    assert together[0] == together[-1]


def test_answers_stand_in_the_order_of_the_inputs(made: Made) -> None:
    order = random.Random(0).sample(range(len(made.prompts)), len(made.prompts))
    with runtime.load(made.bundle, precision="fp32") as graph:
        straight, shuffled = (graph.predict(those) for those in (made.prompts, [made.prompts[row] for row in order]))

    assert_same([straight[row] for row in order], shuffled)


def test_beams_in_torch_are_those_of_the_graphs(made: Made) -> None:
    few, beams = made.prompts[:24], WAYS["beams"]
    with in_torch(made.bundle.path) as torch_half, runtime.load(made.bundle, precision="fp32") as graph:
        assert_same(graph.writer.write(few, beams), torch_half.writer.write(few, beams))


@pytest.mark.parametrize("precision", tiny_writers.PRECISIONS)
def test_every_precision_writes_and_writes_the_same_when_opened_again(made: Made, precision: str) -> None:
    answers = []
    for _ in range(2):
        with runtime.load(made.bundle, precision=precision) as graph:
            answers.append(graph.predict(made.prompts))
            shown = [graph.to_json(one) for one in answers[-1]]

    assert answers[0] == answers[1]
    assert len({one.text for one in answers[0]}) > 4
    assert all(np.isfinite(one.log_probability) and one.log_probability <= 0 for one in answers[0])
    assert all(set(one) == {"text", "tokens", "ended"} for one in shown)
    assert all(len(one.tokens) <= tiny_writers.NEW for one in answers[0])


@pytest.mark.parametrize("way", ["greedy", "beams"])
def test_the_pieces_of_a_stream_join_to_the_text(made: Made, way: str) -> None:
    few = [*made.prompts[:8], "Grüße 🙂"]
    with runtime.load(made.bundle) as graph:
        texts = [graph.writer.write([one], WAYS[way])[0].text for one in few]
        streamed = [list(graph.writer.stream(one, WAYS[way])) for one in few]

    assert ["".join(pieces) for pieces in streamed] == texts
    assert way == "beams" or any(len(pieces) > 2 for pieces in streamed)


def test_a_copy_of_the_bundle_writes_the_same(made: Made, tmp_path: Path) -> None:
    copied = Bundle.open(shutil.copytree(made.bundle.path, tmp_path / "copied"))
    copied.verify()

    with runtime.load(made.bundle) as one, runtime.load(copied) as other:
        assert one.predict(made.prompts) == other.predict(made.prompts)
        assert one.labels == other.labels == made.validation.labels


def test_a_model_saved_and_loaded_writes_the_same(made: Made, tmp_path: Path) -> None:
    model = load_model(made.bundle.path)
    labels = labels_of(made.bundle.path)
    assert labels == made.validation.labels

    save_model(model, tmp_path, labels=labels, max_length=tiny_writers.LENGTH, tokenizer_from=made.bundle.path)

    with in_torch(made.bundle.path) as one, in_torch(tmp_path) as other:
        assert one.writer.write(made.prompts, GREEDY) == other.writer.write(made.prompts, GREEDY)


@pytest.mark.parametrize("made", ["gpt2", "bart"], indirect=True)
def test_transformers_writes_the_same_from_the_same_folder(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # a benchmark has a process of its own
    kind = AutoModelForCausalLM if made.kind == "gpt2" else AutoModelForSeq2SeqLM
    model = kind.from_pretrained(made.bundle.path, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(made.bundle.path, local_files_only=True)
    few = made.prompts[:24]
    given = tokenizer(few, return_tensors="pt", padding=True)
    with torch.no_grad():
        found = model.generate(**given, max_new_tokens=tiny_writers.NEW, do_sample=False)
    own = found[:, given["input_ids"].shape[1] if made.kind == "gpt2" else 1 :]

    with runtime.load(made.bundle, precision="fp32") as graph:
        expected = [one.text for one in graph.writer.write(few, GREEDY)]
    as_measured: list[Any] = open_torch(str(made.bundle.path), tiny_writers.LENGTH, "cpu", 1).predict(few[:4])

    assert [one.text for one in as_measured] == expected[:4]
    assert tokenizer.batch_decode(own, skip_special_tokens=True) == expected


def test_the_figures_in_the_bundle_are_those_of_its_graphs(made: Made) -> None:
    with runtime.load(made.bundle, precision="fp32") as graph:
        found = scores(graph.predictions(made.validation), made.validation)

    assert set(made.bundle.manifest.metrics) == set(found)
    assert made.bundle.manifest.metrics == pytest.approx(found, rel=1e-4)


@pytest.mark.parametrize("made", ["gpt2"], indirect=True)
def test_whole_texts_are_read_alike_by_torch_and_by_the_graph(made: Made) -> None:
    texts = [*made.prompts[:20], " ".join(made.prompts)]
    with in_torch(made.bundle.path) as torch_half, runtime.load(made.bundle, precision="fp32") as graph:
        assert_alike(torch_half.read(texts), graph.read(texts))
        assert_alike(graph.read(texts), [graph.read([one])[0] for one in texts])


def names(kind: str) -> dict[str, tuple[list[str], list[str]]]:
    """Inputs and outputs of every graph of a student of one layer."""
    if kind == "gpt2":
        pasts = [f"0.{one}" for one in CACHES]
        given = ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{one}" for one in pasts)]
        return {"model": (given, ["logits", *(f"present.{one}" for one in pasts)])}
    reads, shows = ["input_ids", "attention_mask"], ["last_hidden_state"]
    if kind == "lstm":
        states = [f"present_state.{one}" for one in STATES]
        given = [*SOURCE, *(f"past_state.{one}" for one in STATES)]
        return {"encoder_model": (reads, [*shows, *states]), "decoder_model_merged": (given, ["logits", *states])}
    pasts = [f"0.{half}.{one}" for half in ("decoder", "encoder") for one in CACHES]
    given = [*SOURCE, *(f"past_key_values.{one}" for one in pasts), "use_cache_branch"]
    return {
        "encoder_model": (reads, shows),
        "decoder_model_merged": (given, ["logits", *(f"present.{one}" for one in pasts)]),
    }


@pytest.mark.parametrize("precision", tiny_writers.PRECISIONS)
def test_graphs_have_the_names_that_other_tools_expect(made: Made, precision: str) -> None:
    files = made.bundle.graphs(precision)
    expected = names(made.kind)
    suffix = {"fp32": "", "int8": "_quantized", "int4": "_q4"}[precision]

    assert {part: path.name for part, path in files.items()} == {part: f"{part}{suffix}.onnx" for part in expected}
    for part, path in files.items():
        model = onnx.load(path)
        inputs, outputs = expected[part]
        defaults = {one.name for one in model.graph.initializer}
        assert sorted(one.name for one in model.graph.input if one.name not in defaults) == sorted(inputs)
        assert sorted(one.name for one in model.graph.output) == sorted(outputs)
        assert model.ir_version <= 10
        assert {one.domain: one.version for one in model.opset_import}[""] in (17, 18)
        assert {one.domain for one in model.opset_import} <= {"", "ai.onnx", "com.microsoft"}


def test_a_pair_of_texts_is_refused_and_not_written_for(made: Made) -> None:
    with runtime.load(made.bundle) as predictor, pytest.raises(UsageError, match="takes single texts, not a pair"):
        predictor.predict([("a question", "its pair")])


def test_the_card_says_what_becomes_of_long_texts(made: Made) -> None:
    card = (made.bundle.path / "README.md").read_text(encoding="utf-8")

    assert ("a prompt may be longer" if made.kind == "gpt2" else "the rest is cut") in card
