import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kd_deploy.benchmark.process import Worker
from kd_deploy.benchmark.targets import JSON, Factory, TargetSpec
from kd_deploy.errors import BenchmarkError
from kd_deploy.measurement import TargetName


def spec(
    function: str = "open_fake",
    *,
    name: str = "student",
    threads: int = 1,
    reason: str | None = None,
    **arguments: JSON,
) -> TargetSpec:
    return TargetSpec(
        target=TargetName(name=name, role="student", runtime="onnxruntime", precision="int8"),
        provider="cpu",
        threads=threads,
        factory=Factory(function=f"tests.benchmark.fakes:{function}", arguments=dict(arguments)),
        size_bytes=10,
        parameters=None,
        reason=reason,
    )


def opened(worker: Worker, of: TargetSpec) -> dict[str, object]:
    return worker.ask("open", function=of.factory.function, arguments=of.factory.arguments, first="hello")


def test_open_tells_start_and_memory_before_any_heavy_import() -> None:
    with Worker(spec()) as worker:
        told = opened(worker, spec())
        peak = worker.ask("memory")["peak_rss_bytes"]

    assert told["via"] == "a fake"
    assert told["max_length"] == 64
    assert min(told["import_ms"], told["load_ms"], told["first_answer_ms"]) >= 0
    assert 0 < told["baseline_rss_bytes"] < peak


def test_the_worker_module_alone_imports_nothing_heavy() -> None:
    code = "import sys, kd_deploy.benchmark.worker; print({'numpy', 'pydantic', 'onnxruntime'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_prints_of_a_library_do_not_break_the_protocol() -> None:
    with Worker(spec("open_noisy")) as worker:
        assert opened(worker, spec("open_noisy"))["via"] == "a fake"


def test_a_fault_of_the_factory_names_the_target_and_keeps_the_hint() -> None:
    with Worker(spec("open_broken")) as worker, pytest.raises(BenchmarkError) as caught:
        opened(worker, spec("open_broken"))

    assert str(caught.value) == "student: the bundle was changed"
    assert caught.value.hint == "make it again"
    assert caught.value.exit_code == 7


def test_a_missing_extra_keeps_its_exit_code_and_its_pip_line() -> None:
    with Worker(spec("open_without_extra")) as worker, pytest.raises(BenchmarkError) as caught:
        opened(worker, spec("open_without_extra"))

    assert caught.value.exit_code == 9
    assert caught.value.hint == "pip install 'kd-deploy[distill]'"


def test_a_worker_that_dies_is_an_error_with_its_last_words() -> None:
    with Worker(spec()) as worker:
        opened(worker, spec())
        with pytest.raises(BenchmarkError, match=r"student: .* ended with exit code 3\n  last words"):
            worker.ask("texts", inputs=["die"], warmup=0)


def test_a_bug_in_the_factory_shows_its_traceback() -> None:
    with Worker(spec("no_such_function")) as worker, pytest.raises(BenchmarkError, match="no_such_function"):
        opened(worker, spec("no_such_function"))


def test_a_killed_worker_hints_at_memory() -> None:
    with Worker(spec()) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(BenchmarkError, match="killed by signal 9") as caught:
            opened(worker, spec())

    assert "memory" in caught.value.hint


def test_no_worker_outlives_an_interrupted_block() -> None:
    worker = Worker(spec())

    with pytest.raises(KeyboardInterrupt), worker:
        raise KeyboardInterrupt

    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_thread_variables_are_set_for_the_worker(tmp_path: Path) -> None:
    of = spec("open_telling_threads", threads=3, path=str(tmp_path / "threads"))

    with Worker(of) as worker:
        opened(worker, of)

    assert (tmp_path / "threads").read_text(encoding="utf-8") == "33"
