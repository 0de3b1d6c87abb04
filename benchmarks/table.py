"""README's table of results, made from the files in benchmarks/results; `--write` puts it in place."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "sst2.json"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
SHOWN = {
    "teacher": "teacher (MiniLM-L6-H384), transformers pipeline",
    "teacher-int8": "teacher, int8",
    "control": "{student} on labels alone, torch",
    "student": "{student}, torch",
    "student-fp32": "{student}, fp32",
    "student-int8": "{student}, **int8**",
}
STUDENTS = {"transformer3": "3-layer student", "bilstm": "BiLSTM student"}


def render(result: Mapping[str, Any]) -> str:
    """The two runs as one markdown table."""
    head = ["", "test accuracy", "÷ teacher", "ms, text to answer", "× as fast", "texts/s", "MB", "peak MiB"]
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for run, student in STUDENTS.items():
        report = result["reports"][run]
        lines += [_row(one, report, student) for one in report["targets"]]
    return "\n".join([*lines, "", *_sentences(result)])


def _row(target: Mapping[str, Any], report: Mapping[str, Any], student: str) -> str:
    name = target["name"]
    compared = next((one for one in report["comparison"] if one["target"] == name), None)
    cells = [
        SHOWN[name].format(student=student),
        f"{target['quality']['accuracy']:.4f}",
        f"{compared['retained']:.3f}" if compared else "1",
        f"{target['end_to_end']['p50_ms']:.2f}",
        f"{compared['speedup']:.1f}" if compared else "1",
        f"{target['throughput']['texts_per_s']:.0f}",
        f"{target['size_bytes'] / 1e6:.1f}",
        f"{target['memory']['peak_rss_bytes'] / 2**20:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _sentences(result: Mapping[str, Any]) -> list[str]:
    found = result["figures"]
    environment = result["environment"]
    gains = []
    for run, student in STUDENTS.items():
        difference = result["reports"][run]["differences"][0]
        gains.append(
            f"{student} {difference['points']:+.2f} points (95 % interval {difference['low']:+.2f} to "
            f"{difference['high']:+.2f})"
        )
    return [
        f"What the teacher added over the same student trained on labels alone: {'; '.join(gains)}.",
        (
            f"A process that loads the int8 3-layer student and answers 1,000 texts peaks at "
            f"{found['runtime_peak_mib']:.0f} MiB; from its birth to the first answer it takes "
            f"{found['cold_start_s']:.2f} s; `kd-deploy --help` takes {found['help_s']:.2f} s. "
            f"Measured on {environment['cores']} shared cores of an {environment['cpu']}, 1 thread, batch 1; "
            f"the table's two halves are two runs, and ratios hold within each."
        ),
    ]


def main() -> None:
    """Print the table, or write it into README.md."""
    table = render(json.loads(RESULTS.read_text(encoding="utf-8")))
    if "--write" not in sys.argv:
        print(table)
        return
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
