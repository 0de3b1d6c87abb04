import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from kd_deploy import measurement_store
from kd_deploy.benchmark import run
from kd_deploy.benchmark.process import Worker
from kd_deploy.benchmark.run import benchmark, round_inputs
from kd_deploy.errors import BenchmarkError
from kd_deploy.measurement import Benchmarked
from kd_deploy.recipe import Benchmark
from tests.benchmark.test_process import spec

TASK = "text-classification"
INPUTS = ["one", "two", ("three", "drei"), "four", "five"]


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LATENCY", {"warmup": 1, "budget_ms": 0.0, "least": 3, "most": 3})


def settings(**changes: object) -> Benchmark:
    return Benchmark(**{"rounds": 2, "texts": 3, "batch_sizes": (1, 2), "sequence_lengths": (8, 100), **changes})


def test_targets_take_turns_over_the_same_inputs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    specs = [
        spec(name="teacher", log=str(log), logged_as="teacher"),
        spec(name="student", log=str(log), logged_as="student"),
    ]

    benchmark(specs, task=TASK, inputs=INPUTS, settings=settings(), command="")

    calls = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [name for name, _ in groupby(name for name, _ in calls)] == ["teacher", "student"] * 3
    by_target = {name: [inputs for who, inputs in calls if who == name] for name in ("teacher", "student")}
    assert by_target["teacher"] == by_target["student"]


def test_raw_samples_of_all_rounds_are_kept() -> None:
    measured = benchmark(
        [spec()], task=TASK, inputs=INPUTS, settings=settings(), command="kd-deploy benchmark"
    ).targets[0]

    assert measured.end_to_end is not None
    assert measured.end_to_end.timing.n == 2 * 3
    assert measured.end_to_end.via == "a fake"
    assert measured.throughput is not None
    assert len(measured.throughput.samples_texts_per_s) == 2
    assert [one.timing.n for one in measured.latency if one.timing] == [2 * 3] * 2
    assert measured.memory is not None
    assert measured.memory.peak_rss_bytes > measured.memory.baseline_rss_bytes


def test_a_shape_longer_than_the_model_is_not_measured_and_says_why() -> None:
    measured = benchmark([spec()], task=TASK, inputs=INPUTS, settings=settings(), command="").targets[0]

    long = [one for one in measured.latency if one.sequence_length == 100]

    assert [one.timing for one in long] == [None, None]
    assert long[0].reason == "student takes at most 64 tokens"


def test_a_target_that_cannot_run_here_is_reported_with_its_reason() -> None:
    reason = "CUDAExecutionProvider is not in this onnxruntime build"
    specs = [spec("never_called", name="on cuda", reason=reason), spec()]

    found = benchmark(specs, task=TASK, inputs=INPUTS, settings=settings(), command="").targets

    assert (found[0].target.name, found[0].reason, found[0].end_to_end) == ("on cuda", reason, None)
    assert found[1].end_to_end is not None


def test_rounds_take_the_next_inputs_and_begin_again_at_the_first() -> None:
    assert round_inputs(INPUTS, texts=3, round_index=0) == ["one", "two", ("three", "drei")]
    assert round_inputs(INPUTS, texts=3, round_index=1) == ["four", "five", "one"]


def test_an_error_in_one_target_ends_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    close = Worker.close
    monkeypatch.setattr(Worker, "close", lambda self: (ended.append(self._name), close(self)))

    with pytest.raises(BenchmarkError, match="broken: the bundle was changed"):
        benchmark(
            [spec(), spec("open_broken", name="broken")],
            task=TASK,
            inputs=INPUTS,
            settings=settings(),
            command="",
        )

    assert ended == ["broken", "student"]


def test_no_texts_is_a_fault_with_a_hint() -> None:
    with pytest.raises(BenchmarkError, match="no texts"):
        benchmark([spec()], task=TASK, inputs=[], settings=settings(), command="")


def test_a_benchmark_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    found = benchmark([spec()], task=TASK, inputs=INPUTS, settings=settings(), command="kd-deploy benchmark x")

    measurement_store.save(tmp_path / "benchmark.json", found)

    assert measurement_store.load(tmp_path / "benchmark.json", Benchmarked) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "JSON"), ('{"command": ""}', "environment: Field required"), ("[]", "is no benchmark of kd-deploy")],
)
def test_a_file_that_is_no_benchmark_is_named_with_its_first_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BenchmarkError, match=said) as caught:
        measurement_store.load(path, Benchmarked)

    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="there is no file"):
        measurement_store.load(tmp_path / "none.json", Benchmarked)


def test_a_target_that_need_not_run_and_dies_is_not_measured() -> None:
    doomed = replace(spec("open_doomed", name="teacher"), must_run=False)

    made = benchmark([doomed, spec()], task=TASK, inputs=INPUTS, settings=settings(), command="")

    teacher, student = made.targets
    assert teacher.end_to_end is None
    assert "teacher: the process that measured it ended with exit code 3" in str(teacher.reason)
    assert student.reason is None
