"""Answers from a bundle: their order, what moves them, what is refused, what is loaded."""

import itertools
import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy import runtime
from kd_deploy.bundle import Bundle, sign
from kd_deploy.errors import BundleError, UsageError
from kd_deploy.runtime import predictor as predictor_module
from kd_deploy.runtime.stream import READER
from kd_deploy.tasks.encoding import TextInput
from tests import tiny


def texts(count: int = 60) -> list[str]:
    """Good and bad texts of one to forty words, in no order of length."""
    rng = random.Random(3)
    words = [*tiny.FILLERS, "great", "awful", "naïve", "🙂"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(count)]


@pytest.mark.parametrize("budget", [1, 60, 1500])
def test_answers_keep_the_order_of_the_texts(exported: Bundle, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(predictor_module, "TOKEN_BUDGET", budget)
    given = texts()
    order = random.Random(1).sample(range(len(given)), len(given))

    with runtime.load(exported, precision="fp32") as model:
        straight, shuffled = model.logits(given), model.logits([given[row] for row in order])

    np.testing.assert_allclose(shuffled, straight[order], atol=1e-5)
    assert np.ptp(straight, axis=0).max() > 0.1


def test_a_text_among_others_is_answered_as_alone(exported: Bundle) -> None:
    with runtime.load(exported, precision="fp32") as model:
        together = model.logits(texts())
        alone = np.concatenate([model.logits([one]) for one in texts()])

    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_tells_good_from_bad(exported: Bundle, test_rows: Any, precision: str) -> None:
    with runtime.load(exported.path, precision=precision) as model:
        found = model.predict(test_rows.inputs)

    right = [one.label == tiny.SINGLE.names[ids[0]] for one, ids in zip(found, test_rows.targets, strict=True)]
    assert np.mean(right) > 0.9
    assert all(one.labels == (one.label,) and one.score == max(one.scores.values()) for one in found)
    assert all(list(one.scores) == ["bad", "good"] and sum(one.scores.values()) == pytest.approx(1) for one in found)


def test_pairs_are_answered_as_pairs(pairs: Bundle) -> None:
    given: list[TextInput] = [("the film", "a great story"), ("a great story", "the film"), ("we", "awful " * 30)]

    with runtime.load(pairs) as model:
        together = model.logits(given)
        alone = np.concatenate([model.logits([one]) for one in given])
        joined = model.logits(["the film a great story"])

    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert not np.allclose(together[0], together[1], atol=1e-3)
    assert not np.allclose(together[0], joined[0], atol=1e-3)


def test_several_labels_are_any_number(multi: Bundle) -> None:
    rows = tiny.multi_label(60, seed=4)

    with runtime.load(multi) as model:
        found = model.predict(rows.inputs)

    assert all(one.label is None for one in found)
    assert all(one.labels == tuple(name for name, p in one.scores.items() if p > 0.5) for one in found)
    assert {len(one.labels) for one in found} >= {1, 2}


def test_no_texts_have_no_answers(exported: Bundle) -> None:
    with runtime.load(exported) as model:
        assert model.predict([]) == []
        assert list(model.stream([])) == []


def test_a_stream_is_answered_in_order(exported: Bundle) -> None:
    with runtime.load(exported, precision="fp32") as model:
        streamed = list(model.stream(iter(texts())))

        assert [one.label for one in streamed] == [one.label for one in model.predict(texts())]


def test_a_stream_answers_before_the_next_text_is_there(bilstm: Bundle) -> None:
    answered = threading.Event()

    def source() -> Iterator[str]:
        yield "a great film"
        assert answered.wait(timeout=30)
        yield "an awful film"

    with runtime.load(bilstm) as model:
        stream = model.stream(source())
        first = next(stream)
        answered.set()
        assert [first.label, *(one.label for one in stream)] == ["good", "bad"]


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["a", "b"], ("a",), ("a", "b", "c"), ("a", None), {"text": "a"}])
def test_what_is_not_a_text_is_named_with_its_place(bilstm: Bundle, bad: Any) -> None:
    with runtime.load(bilstm) as model, pytest.raises(UsageError, match=f"input 1 is {type(bad).__name__}") as caught:
        model.predict(["a text", bad])
    assert caught.value.hint


def test_one_text_in_place_of_a_list_is_named(bilstm: Bundle) -> None:
    with runtime.load(bilstm) as model, pytest.raises(UsageError, match="not one text"):
        model.predict("a text")


@pytest.mark.parametrize("text", ["", "\ud800", "\x00", "film " * 10_000])
def test_odd_texts_are_answered(exported: Bundle, text: str) -> None:
    with runtime.load(exported) as model:
        (found,) = model.predict([text])

    assert all(np.isfinite(value) for value in found.scores.values())


def test_int8_is_taken_where_there_is_one(exported: Bundle, multi: Bundle) -> None:
    with runtime.load(exported) as model, runtime.load(exported, precision="int8") as int8:
        np.testing.assert_array_equal(model.logits(["a great film"]), int8.logits(["a great film"]))
    with pytest.raises(BundleError, match=r"no int8 graph.*fp32"):
        runtime.load(multi, precision="int8")


READ = ("config.json", "tokenizer.json", "onnx/model.onnx")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", ["bert", "bilstm"])
def test_one_byte_changed_in_a_file_it_reads_is_found(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, name: str
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    folder = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleError, match="not the file that was signed"):
        runtime.load(folder, precision="fp32")


@pytest.mark.parametrize("name", [*READ, "bundle.json"])
def test_a_file_that_is_gone_is_named(bilstm: Bundle, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(bilstm.path, tmp_path / "copy"))
    (folder / name).unlink()

    with pytest.raises(BundleError, match=Path(name).name):
        runtime.load(folder, precision="fp32")


def test_no_torch_is_imported_to_answer(bilstm: Bundle) -> None:
    code = (
        "import sys, kd_deploy.runtime as runtime\n"
        f"with runtime.load({str(bilstm.path)!r}) as model: print(model.predict(['a great film'])[0].label)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'onnx', 'optimum', 'pyarrow', 'pandas', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["good", "[]"]
    assert done.stderr == ""


def test_it_says_what_it_is(bilstm: Bundle) -> None:
    with runtime.load(bilstm) as model:
        vocabulary = json.loads((bilstm.path / "tokenizer.json").read_text())["model"]["vocab"]
        assert model.vocabulary_size == len(vocabulary)
        assert model.max_length == tiny.MAX_LENGTH
        assert model.labels == tiny.SINGLE
        assert model.runner.input_names == ("input_ids", "attention_mask")
        assert model.via == "kd_deploy.runtime"


def test_a_stream_that_is_left_reads_no_further(bilstm: Bundle) -> None:
    asked = itertools.count()

    def endless() -> Iterator[str]:
        while True:
            yield f"text {next(asked)}"

    before = set(threading.enumerate())
    with runtime.load(bilstm) as model:
        answers = model.stream(endless())
        next(answers)
        (reader,) = (one for one in threading.enumerate() if one.name == READER and one not in before)
        answers.close()  # type: ignore[attr-defined]
        reader.join(timeout=60)

    assert not reader.is_alive()


def test_a_stream_refuses_what_is_no_text_by_its_place_among_all(bilstm: Bundle) -> None:
    given: list[Any] = ["a great film"] * 700 + [None, "a great film"]

    with runtime.load(bilstm) as model, pytest.raises(UsageError, match="input 700 is NoneType"):
        list(model.stream(given))


def test_a_text_without_tokens_is_answered_alone_as_among_others(exported: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported.path, tmp_path / "bundle"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    sign(folder, Bundle.open(folder).manifest)

    with runtime.load(folder, precision="fp32") as model:
        alone, among = model.logits([""])[0], model.logits(["a great film", "", "dull"])[1]

    assert np.isfinite(alone).all()
    np.testing.assert_allclose(among, alone, atol=1e-5)
