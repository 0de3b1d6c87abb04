"""The parent's side of a worker: start it, ask it, end it, and say why it failed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any, Self

from kd_deploy.benchmark.targets import TargetSpec
from kd_deploy.errors import BenchmarkError, MissingExtraError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
STDERR_LINES = 5
GRACE_S = 5.0


class WorkerDiedError(BenchmarkError):
    """The process of a target is gone."""


class Worker:
    """A running worker process. Use it in a `with` block: it never outlives the block."""

    def __init__(self, spec: TargetSpec) -> None:
        self._name = spec.target.name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kd_deploy.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=worker_environment(spec.threads),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """The reply to one request.

        Raises:
            BenchmarkError: The target refused; the message names it.
            WorkerDiedError: Its process ended before it answered.
        """
        reply = self._exchange(json.dumps({"do": do, **fields}).encode() + b"\n")
        if not reply:
            raise self._death()
        answer: dict[str, Any] = json.loads(reply)
        if "error" in answer:
            raise _fault(self._name, answer["error"])
        return answer

    def close(self) -> None:
        """End the process: politely, then by force."""
        try:
            self._process.communicate(b'{"do": "close"}\n', timeout=GRACE_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):  # it hangs, or is dead already
            self._process.kill()
            self._process.wait()
        finally:
            self._stderr.close()

    def _exchange(self, request: bytes) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:  # never: both are pipes
            return b""
        try:
            stdin.write(request)
            stdin.flush()
        except BrokenPipeError:
            return b""
        return stdout.readline()

    def _death(self) -> WorkerDiedError:
        code = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").strip().splitlines()[-STDERR_LINES:]
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return WorkerDiedError(
            "\n  ".join([f"{self._name}: the process that measured it {ended}", *said]),
            hint="out of memory is the common cause: measure fewer targets at once" if code == -signal.SIGKILL else "",
        )


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of a worker: so many threads, and everything importable that is importable here."""
    importable = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)  # noqa: PTH100
    return {**os.environ, "PYTHONPATH": importable, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def _fault(name: str, told: dict[str, Any]) -> BenchmarkError:
    fault = BenchmarkError(f"{name}: {told['message']}", hint=told["hint"])
    if told["exit_code"] == MissingExtraError.exit_code:
        fault.exit_code = MissingExtraError.exit_code
    return fault
