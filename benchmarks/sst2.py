"""SST-2, teacher to int8 bundle: the figures of the two runs of `examples/sst2*.yaml`, and the runtime's own cost.

Run both recipes first (`kd-deploy run examples/sst2.yaml --output runs/sst2`, and `sst2-bilstm` alike); then
`python benchmarks/sst2.py runs/sst2 runs/sst2-bilstm` on a quiet machine.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import figures

REPEATS = 9
TEXTS = 1000

# A whole process: import, load, TEXTS answers; its peak, and whether torch came with it.
ANSWER_AND_PEAK = """
import json, sys
from kd_deploy import runtime
texts = json.load(open(sys.argv[2]))
model = runtime.load(sys.argv[1], precision="int8", threads=1)
model.predict(texts)
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps({"peak_bytes": peak, "torch": "torch" in sys.modules}))
"""

# From the birth of the process to the first answer.
COLD_START = """
import json, sys, time
from kd_deploy import runtime
model = runtime.load(sys.argv[1], precision="int8", threads=1)
model.predict(["a first text"])
import psutil
print(json.dumps({"seconds": time.time() - psutil.Process().create_time()}))
"""


def main() -> None:
    """Collect the figures of both runs and write benchmarks/results/sst2.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("transformer", type=Path)
    parser.add_argument("bilstm", type=Path)
    places = parser.parse_args()
    reports = {"transformer3": _report(places.transformer), "bilstm": _report(places.bilstm)}
    texts = places.transformer / "texts.json"
    texts.write_text(json.dumps(_test_texts(places.transformer)[:TEXTS]), encoding="utf-8")
    bundle = str(places.transformer / "student")
    peaks = figures.in_child(ANSWER_AND_PEAK, bundle, str(texts), repeats=3)
    if any(one["torch"] for one in peaks):
        raise SystemExit("the runtime imported torch")
    starts = figures.in_child(COLD_START, bundle, repeats=REPEATS)
    helps = [_seconds([str(Path(sys.executable).with_name("kd-deploy")), "--help"]) for _ in range(REPEATS)]
    found = {
        **_of_student("transformer3", reports["transformer3"]),
        **_of_student("bilstm", reports["bilstm"]),
        "runtime_peak_mib": figures.median([one["peak_bytes"] for one in peaks]) / 2**20,
        "cold_start_s": figures.median([one["seconds"] for one in starts]),
        "help_s": figures.median(helps),
    }
    raw = {"reports": reports, "samples": {"peaks": peaks, "cold_starts": starts, "help_s": helps}}
    print(figures.write("sst2", figures=found, reasons={}, raw=raw))
    for key, value in found.items():
        print(f"{key:45} {value:.4f}")


def _of_student(name: str, report: Mapping[str, Any]) -> dict[str, float]:
    quality = {one["name"]: one["quality"]["accuracy"] for one in report["targets"]}
    speedup = {one["target"]: one["speedup"] for one in report["comparison"]}
    return {
        f"retained_{name}": quality["student"] / quality["teacher"],
        f"retained_{name}_int8": quality["student-int8"] / quality["teacher"],
        f"distilled_minus_control_{name}_points": 100 * (quality["student"] - quality["control"]),
        f"int8_minus_torch_{name}_points": 100 * (quality["student-int8"] - quality["student"]),
        f"speedup_{name}_int8": speedup["student-int8"],
        f"speedup_teacher_int8_in_{name}_run": speedup["teacher-int8"],
    }


def _report(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return report


def _test_texts(run: Path) -> list[str]:
    import yaml

    from kd_deploy.pipeline.rows import texts_of
    from kd_deploy.tasks import text_classification

    recipe = yaml.safe_load((run / "recipe.resolved.yaml").read_text(encoding="utf-8"))
    return [str(one) for one in texts_of(recipe["data"]["test"], columns={}, task=text_classification)]


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
