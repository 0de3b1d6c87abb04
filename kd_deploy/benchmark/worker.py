"""The process that holds one target: requests as JSON lines on stdin, replies on stdout.

Nothing heavy is imported before the process has read its own memory and the target's module has
been timed: numpy, and whatever the target needs, come in with "open".
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from kd_deploy.errors import KDDeployError, missing_extra

if TYPE_CHECKING:
    from kd_deploy.runner import Answerer

    TextInput = str | tuple[str, str]

Request = dict[str, Any]
Reply = dict[str, Any]


def main() -> None:
    """Answer requests until "close" or the end of stdin."""
    baseline_bytes = resident_bytes()
    requests, replies = _take_streams()
    answerer: Answerer | None = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "close":
            break
        try:
            if answerer is None:
                answerer, reply = open_target(request, baseline_bytes=baseline_bytes)
            else:
                reply = HANDLERS[request["do"]](answerer, request)
        except KDDeployError as error:
            reply = {"error": describe(error)}
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is None:
                raise
            reply = {"error": describe(missing)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def open_target(request: Request, *, baseline_bytes: int) -> tuple["Answerer", Reply]:
    """The answerer that the factory gives, and how long each step to its first answer took."""
    module_name, _, function_name = request["function"].partition(":")
    started = time.perf_counter()
    module = importlib.import_module(module_name)
    imported = time.perf_counter()
    answerer: Answerer = getattr(module, function_name)(**request["arguments"])
    loaded = time.perf_counter()
    answerer.predict(_inputs([request["first"]]))
    answered = time.perf_counter()
    return answerer, {
        "import_ms": 1e3 * (imported - started),
        "load_ms": 1e3 * (loaded - imported),
        "first_answer_ms": 1e3 * (answered - loaded),
        "baseline_rss_bytes": baseline_bytes,
        "via": answerer.via,
        "max_length": answerer.max_length,
        "batch_size": answerer.batch_size,
    }


def time_latency(answerer: "Answerer", request: Request) -> Reply:
    """Forward passes over one fixed shape; how many is settled by the warm-up."""
    from kd_deploy.benchmark import measure

    batch = measure.synthetic_batch(
        answerer.runner.input_names,
        vocabulary_size=answerer.vocabulary_size,
        batch_size=request["batch_size"],
        sequence_length=request["sequence_length"],
        mask_id=answerer.mask_id,
    )
    pilot = measure.measure_latency(answerer.runner, batch, warmup=1, repeats=request["warmup"])
    repeats = measure.choose_repeats(
        pilot, budget_ms=request["budget_ms"], least=request["least"], most=request["most"]
    )
    timing = measure.measure_latency(answerer.runner, batch, warmup=0, repeats=repeats)
    return {"samples_ms": timing.samples_ms}


def time_texts(answerer: "Answerer", request: Request) -> Reply:
    """Texts answered one by one."""
    from kd_deploy.benchmark import measure

    counting = measure.Counting(answerer)
    timing = measure.measure_texts(counting, _inputs(request["inputs"]), warmup=request["warmup"])
    counts = [one for one in counting.tokens[-timing.n :] if one is not None]
    return {"samples_ms": timing.samples_ms, "tokens": sum(counts) if counts else None}


def time_throughput(answerer: "Answerer", request: Request) -> Reply:
    """All texts answered by one call."""
    from kd_deploy.benchmark import measure

    inputs = _inputs(request["inputs"])
    return {"texts_per_s": measure.measure_throughput(answerer, inputs, warmup=request["warmup"])}


def read_memory(_answerer: "Answerer", _request: Request) -> Reply:
    """The largest resident memory of this process so far."""
    return {"peak_rss_bytes": peak_bytes()}


HANDLERS: dict[str, Callable[["Answerer", Request], Reply]] = {
    "latency": time_latency,
    "texts": time_texts,
    "throughput": time_throughput,
    "memory": read_memory,
}


def describe(error: KDDeployError) -> dict[str, str | int]:
    """An error of ours, in a form that travels."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def resident_bytes() -> int:
    """The resident memory of this process now."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The largest resident memory of this process since it began."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _take_streams() -> tuple[IO[bytes], IO[str]]:
    # The two streams of the protocol are kept apart; what a library prints goes to stderr,
    # and one that reads stdin finds it empty.
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _inputs(wire: Sequence[str | list[str]]) -> "list[TextInput]":
    return [cast("tuple[str, str]", tuple(one)) if isinstance(one, list) else one for one in wire]


if __name__ == "__main__":
    main()
