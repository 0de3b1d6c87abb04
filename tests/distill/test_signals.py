"""The cache of the teacher's answers: computed once, found by text, never half, never wrong."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kd_deploy.distill import signal_cache, signals
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.distill.objectives.logits import soft_target_kl
from kd_deploy.distill.observe import Shape
from kd_deploy.distill.room import fits, room_for
from kd_deploy.distill.signal_cache import place_for
from kd_deploy.distill.signals import LiveTeacher, Signals, fingerprint, rounded, teacher_signals
from kd_deploy.errors import TrainingError, UsageError
from kd_deploy.files import sha256_file
from kd_deploy.tasks.encoding import TextInput
from tests import tiny

TEXTS = ("a great film", "a dull story", "we saw the town", "warm people")


@dataclass(frozen=True)
class Asked:
    """A teacher that counts the rows it is asked about, and its cache."""

    model: nn.Module
    checkpoint: Path
    cache: Path
    rows: list[int]

    def about(
        self,
        *inputs: TextInput,
        max_length: int = tiny.MAX_LENGTH,
        checkpoint: Path | None = None,
        names: Sequence[str] = ("logits",),
    ) -> Signals:
        return teacher_signals(
            self.model,
            checkpoint or self.checkpoint,
            inputs,
            names=names,
            max_length=max_length,
            cache=self.cache,
        )


@pytest.fixture
def ask(checkpoint: Path, tmp_path: Path) -> Asked:
    rows: list[int] = []
    model = load_model(checkpoint)
    model.register_forward_hook(lambda *called: rows.append(len(called[2].logits)))
    return Asked(model, checkpoint, tmp_path, rows)


def segments(cache: Path) -> list[Path]:
    return list(cache.glob("signals/*/*/segment-*"))


def test_signals_are_computed_once_and_then_reused(ask: Asked) -> None:
    first = ask.about(*TEXTS)
    again = ask.about(*TEXTS)

    assert sum(ask.rows) == 4
    assert (first.computed, first.reused) == (4, 0)
    assert (again.computed, again.reused) == (0, 4)
    np.testing.assert_array_equal(first.logits, again.logits)


def test_a_place_that_cannot_be_written_is_told_as_that_of_the_cache(ask: Asked) -> None:
    (ask.cache / "signals").write_text("in the way")

    with pytest.raises(UsageError, match="cannot write") as caught:
        ask.about(*TEXTS)
    assert "$KD_DEPLOY_CACHE" in caught.value.hint


def test_a_further_process_that_does_not_find_what_the_first_kept_is_told(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")

    with pytest.raises(UsageError, match=r"process 1 does not find in .*logits what the first one kept"):
        ask.about(*TEXTS)


def test_answers_that_are_no_numbers_are_not_kept(ask: Asked) -> None:
    with torch.no_grad():
        next(ask.model.parameters())[3] = float("nan")

    with pytest.raises(TrainingError, match="the teacher shows logits that are no numbers"):
        ask.about(*TEXTS)
    assert segments(ask.cache) == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EOPNOTSUPP], ids=["full", "promises nothing"])
def test_room_on_the_disk_is_taken_before_it_is_mapped(ask: Asked, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    asked = list[int]()

    def refused(_stream: int, start: int, size: int) -> None:
        asked.append(size - start)
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr("os.posix_fallocate", refused)
    if fault == errno.ENOSPC:
        with pytest.raises(UsageError, match="No space left on device") as caught:
            ask.about(*TEXTS)
        assert "$KD_DEPLOY_CACHE" in caught.value.hint
        assert segments(ask.cache) == []
    else:
        assert ask.about(*TEXTS).computed == len(TEXTS)
        (segment,) = segments(ask.cache)
        assert asked == [(segment / "values.npy").stat().st_size]


def test_rows_are_mapped_and_not_read(ask: Asked) -> None:
    ask.about(*TEXTS, names=("hidden.0",))

    row: Any = ask.about(*TEXTS, names=("hidden.0",)).rows["hidden.0"][0]
    while row is not None and not isinstance(row, np.memmap):
        row = row.base
    assert row is not None


def test_what_is_new_must_have_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = partial(room_for, limit_gb=1, cache=tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))

    assert room(10_000, new=800)
    assert not room(10_000, new=801)
    assert not room(2 * 10**9, new=0)


def test_answers_in_another_number_format_are_others(checkpoint: Path) -> None:
    named = {one: fingerprint(checkpoint, max_length=16, number_format=one) for one in ("fp32", "bf16")}

    assert named["fp32"] != named["bf16"]


def test_a_file_that_changed_is_hashed_again(ask: Asked) -> None:
    first = ask.about(*TEXTS).logits
    (segment,) = segments(ask.cache)
    values = np.load(segment / "values.npy")
    np.save(segment / "values.npy", values + 1)

    np.testing.assert_array_equal(ask.about(*TEXTS).logits, first)
    assert sum(ask.rows) == 8


def test_a_row_is_found_by_its_text_not_by_its_place(ask: Asked) -> None:
    first = ask.about(*TEXTS).logits

    turned = ask.about(*reversed(TEXTS)).logits

    np.testing.assert_array_equal(turned, first[::-1])
    assert sum(ask.rows) == 4


def test_new_texts_alone_are_computed(ask: Asked) -> None:
    first = ask.about(*TEXTS[:2])

    both = ask.about("new", *TEXTS[:2])

    assert (both.computed, both.reused) == (1, 2)
    assert sum(ask.rows) == 3
    np.testing.assert_array_equal(both.logits[1:], first.logits)
    assert ask.about("new", *TEXTS[:2]).computed == 0


def test_a_pass_that_is_broken_off_goes_on_where_it_was(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask.about(*TEXTS, names=("logits", "hidden.0"))
    shutil.rmtree(ask.cache / "signals")
    ask.rows.clear()
    monkeypatch.setattr(signal_cache, "BLOCK", 2)

    def breaks(_module: nn.Module, *_: object) -> None:
        if sum(ask.rows) >= 2:
            raise KeyboardInterrupt

    hook = ask.model.register_forward_pre_hook(breaks)
    with pytest.raises(KeyboardInterrupt):
        ask.about(*TEXTS, names=("logits", "hidden.0"))
    hook.remove()
    again = ask.about(*TEXTS, names=("logits", "hidden.0"))

    assert (again.computed, again.reused) == (2, 2)
    np.testing.assert_allclose(again.logits, whole.logits, atol=2e-2)
    for row, values in enumerate(whole.rows["hidden.0"]):
        np.testing.assert_allclose(again.rows["hidden.0"][row], values, atol=2e-2)


def test_duplicates_are_computed_once(ask: Asked) -> None:
    found = ask.about("a great film", "a dull story", "a great film")

    assert found.computed == sum(ask.rows) == 2
    assert found.logits.shape == (3, 2)
    np.testing.assert_array_equal(found.logits[0], found.logits[2])


def test_a_pair_is_not_its_two_texts_in_one(ask: Asked) -> None:
    found = ask.about("a great film", ("a great", "film"), ("a", "great film"))

    assert found.computed == 3


@pytest.mark.parametrize("text", ["\ud800 broken", "", "🙂", "a\x00b"])
def test_odd_texts_have_signals_too(ask: Asked, text: str) -> None:
    assert np.isfinite(ask.about(text).logits).all()
    assert ask.about(text).computed == 0


def test_another_length_limit_is_another_cache(ask: Asked) -> None:
    ask.about(*TEXTS)

    shorter = ask.about(*TEXTS, max_length=4)

    assert shorter.computed == 4
    assert len(list(ask.cache.glob("signals/*"))) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_another_teacher_is_another_cache(ask: Asked, tmp_path: Path, name: str) -> None:
    ask.about(*TEXTS)
    other = tmp_path / "other"
    shutil.copytree(ask.checkpoint, other)
    with (other / name).open("ab") as stream:
        stream.write(b"\n")

    assert ask.about(*TEXTS, checkpoint=other).computed == 4


def test_the_same_teacher_elsewhere_is_the_same_cache(ask: Asked, tmp_path: Path) -> None:
    ask.about(*TEXTS)
    moved = tmp_path / "moved"
    shutil.copytree(ask.checkpoint, moved)

    assert ask.about(*TEXTS, checkpoint=moved).computed == 0


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit of the logits": lambda segment: flip(segment / "values.npy"),
    "a bit of the ends": lambda segment: flip(segment / "ends.npy"),
    "a bit of the keys": lambda segment: flip(segment / "keys.npy"),
    "no logits": lambda segment: (segment / "values.npy").unlink(),
    "half the logits": lambda segment: (segment / "values.npy").write_bytes(b"\x93NUMPY"),
    "no record": lambda segment: (segment / "segment.json").unlink(),
    "an empty record": lambda segment: (segment / "segment.json").write_text(""),
    "a record of another form": lambda segment: (segment / "segment.json").write_text("[]"),
    "a record without a hash": lambda segment: (segment / "segment.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_segment_is_computed_again(ask: Asked, damage: str) -> None:
    before = ask.about(*TEXTS).logits
    (segment,) = segments(ask.cache)
    DAMAGES[damage](segment)

    again = ask.about(*TEXTS)

    assert again.computed == 4
    np.testing.assert_array_equal(again.logits, before)
    assert ask.about(*TEXTS).computed == 0


def test_what_a_killed_writer_left_is_not_read(ask: Asked) -> None:
    first = ask.about(*TEXTS)
    (segment,) = segments(ask.cache)
    segment.rename(segment.with_name(f".{segment.name}.writing-1"))

    again = ask.about(*TEXTS)

    assert again.computed == 4
    np.testing.assert_array_equal(again.logits, first.logits)


def test_a_writer_that_fails_leaves_no_signals(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(signal_cache, "sha256_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask.about(*TEXTS)

    assert [path.name for path in ask.cache.rglob("*") if path.is_file()] == [signal_cache.SETTINGS]
    assert ask.about(*TEXTS).computed == 4


def test_nothing_in_the_cache_is_a_pickle(ask: Asked) -> None:
    ask.about(*TEXTS)

    for path in segments(ask.cache)[0].glob("*.npy"):
        np.load(path, allow_pickle=False)


def live(ask: Asked, *texts: str) -> torch.Tensor:
    encoder = signals.open_encoder(ask.checkpoint, max_length=tiny.MAX_LENGTH)
    names = ("input_ids", "attention_mask", "token_type_ids")
    arrays = encoder.collate([encoder.encode(text) for text in texts], input_names=names)
    with torch.no_grad():
        logits: torch.Tensor = ask.model(**{name: torch.from_numpy(value) for name, value in arrays.items()}).logits
    return logits


def test_cached_logits_are_the_live_ones(ask: Asked) -> None:
    ask.about(*TEXTS)

    cached = torch.from_numpy(ask.about(*TEXTS).logits)

    torch.testing.assert_close(
        cached, live(ask, *TEXTS), atol=2e-2 if signals.choose_format("auto", ask.model) == "bf16" else 1e-5, rtol=1e-2
    )


def test_a_student_feels_the_same_pull_from_cached_and_live_logits(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "choose_format", lambda *_: "fp32")
    cached = torch.from_numpy(ask.about(*TEXTS).logits)

    def gradient(teacher: torch.Tensor) -> torch.Tensor:
        student = torch.tensor([[0.1, 0.2]] * len(TEXTS), requires_grad=True)
        soft_target_kl(student, teacher).backward()
        assert student.grad is not None
        return student.grad

    torch.testing.assert_close(gradient(cached), gradient(live(ask, *TEXTS)), atol=1e-6, rtol=1e-4)


def test_layers_are_kept_token_by_token(ask: Asked) -> None:
    found = ask.about(*TEXTS, names=("hidden.1", "logits"))

    encoder = signals.open_encoder(ask.checkpoint, max_length=tiny.MAX_LENGTH)
    for row, text in enumerate(TEXTS):
        assert found.of(row)["hidden.1"].shape == (len(encoder.encode(text)), tiny.SIZES.hidden_size)
        assert found.of(row)["hidden.1"].dtype == np.float16
    assert found.logits.shape == (4, 2)


def test_a_signal_asked_for_later_is_computed_beside_what_is_there(ask: Asked) -> None:
    ask.about(*TEXTS)

    later = ask.about(*TEXTS, "a new one", names=("logits", "key.0"))

    assert later.computed == 5
    assert ask.about(*TEXTS, "a new one", names=("key.0", "logits")).computed == 0
    assert ask.about("a new one").computed == 0


def test_a_live_teacher_says_what_the_cache_holds(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "choose_format", lambda *_: "fp32")
    names = ("embedding", "hidden.3", "logits", "query.2", "value.0")
    kept = ask.about(*TEXTS, names=names)
    encoder = signals.open_encoder(ask.checkpoint, max_length=tiny.MAX_LENGTH)
    teacher = LiveTeacher(ask.model, names, chosen="fp32")
    arrays = encoder.collate([encoder.encode(text) for text in TEXTS], input_names=teacher.inputs)

    shown = teacher.signal({name: torch.from_numpy(value) for name, value in arrays.items()})

    assert set(shown) == set(names)
    for row in range(len(TEXTS)):
        for name, value in kept.of(row).items():
            now = shown[name][row].numpy()
            assert now.dtype == value.dtype
            np.testing.assert_allclose(now[: len(value)], value, atol=2e-3)


@pytest.mark.parametrize(("limit_gb", "expected"), [(1.0, True), (1e-6, False), (0.0, False)])
def test_layers_are_kept_only_within_the_limit(tmp_path: Path, limit_gb: float, expected: bool) -> None:
    shape = Shape(name="bert", depth=4, width=32, embedding_width=32, heads=4)

    room = fits(
        shape, names=("hidden.0", "logits"), tokens=1000, new=1000, limit_gb=limit_gb, cache=tmp_path / "not" / "yet"
    )

    assert room is expected


def test_logits_are_always_kept(tmp_path: Path) -> None:
    shape = Shape(name="bert", depth=4, width=32, embedding_width=32, heads=4)

    assert fits(shape, names=("logits",), tokens=10**9, new=10**9, limit_gb=0.0, cache=tmp_path)


def test_the_teacher_is_left_in_the_mode_it_was_in(ask: Asked) -> None:
    ask.model.train()

    ask.about(*TEXTS)

    assert ask.model.training


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KD_DEPLOY_CACHE", raising=False)
    assert signals.cache_folder() == tmp_path / "kd-deploy"

    monkeypatch.setenv("KD_DEPLOY_CACHE", str(tmp_path / "mine"))
    assert signals.cache_folder() == tmp_path / "mine"


def test_a_cache_says_what_its_signals_depend_on(checkpoint: Path, tmp_path: Path) -> None:
    settings = signals.settings_of(checkpoint, max_length=16, number_format="fp32")

    folder = place_for(settings, cache=tmp_path)

    told = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert told == settings
    assert told["max_length"] == 16
    assert told["weights"] == [sha256_file(checkpoint / "model.safetensors")]
    assert folder.name == fingerprint(checkpoint, max_length=16, number_format="fp32")
    assert place_for(settings, cache=tmp_path) == folder


def test_a_cache_that_may_only_be_read_is_read(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask.about(*TEXTS)
    for path in ask.cache.rglob(signal_cache.SETTINGS):
        path.unlink()  # as those from before it was written

    def refused(*_: object) -> None:
        raise UsageError("it may only be read")

    monkeypatch.setattr(signal_cache, "write_text", refused)

    np.testing.assert_array_equal(ask.about(*TEXTS).logits, first.logits)


def test_another_pooling_is_another_teacher(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    prints = [fingerprint(folder, max_length=16, number_format="fp32")]

    (folder / "modules.json").write_text("[]", encoding="utf-8")
    prints.append(fingerprint(folder, max_length=16, number_format="fp32"))
    (folder / "1_Pooling").mkdir()
    for mode in ("cls", "mean"):
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}), encoding="utf-8")
        prints.append(fingerprint(folder, max_length=16, number_format="fp32"))

    assert len(set(prints)) == len(prints)
    assert prints[0] == fingerprint(checkpoint, max_length=16, number_format="fp32")


def test_another_language_to_write_in_is_another_teacher(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    prints = [fingerprint(folder, max_length=16, number_format="fp32")]

    for language in (5, 6):
        (folder / "generation_config.json").write_text(json.dumps({"forced_bos_token_id": language}), encoding="utf-8")
        prints.append(fingerprint(folder, max_length=16, number_format="fp32"))

    assert len(set(prints)) == len(prints)


def test_layers_beyond_half_precision_stay_finite() -> None:
    assert rounded("hidden.3", torch.tensor([[[1e6, -1e6, 1.0]]])).tolist() == [[[65504.0, -65504.0, 1.0]]]
