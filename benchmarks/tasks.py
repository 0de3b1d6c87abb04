"""Every task of understanding: what the students of `examples/tasks` keep of their teachers, and how fast they are.

Run the recipes first, each into `runs/` under its own name (`kd-deploy run examples/tasks/question-answering.yaml
--output runs/question-answering`, with `--set teacher.model=...` where the encoder lies elsewhere); then
`python benchmarks/tasks.py`, which collects the reports that are there. Of a run that is gone, the report stays that
the result file has.
"""

from pathlib import Path
from typing import Any

import figures

RUNS = Path("runs")
# Each figure, and the run whose int8 student it is of.
RETAINED = {
    "qa_f1_retained": "question-answering",
    "qa_f1_retained_bilstm": "question-answering-bilstm",
    "entities_f1_retained_transformer": "token-classification",
    "entities_f1_retained_bilstm": "token-classification-bilstm",
    "entities_wnut17_f1_retained": "token-classification-wnut",
    "entities_zh_f1_retained": "token-classification-zh",
    "embedding_retained_3": "sentence-embedding",
    "embedding_retained_2": "sentence-embedding-2-layers",
    "embedding_retained_static": "sentence-embedding-static",
    "stsb_retained": "sentence-similarity",
    "zh_retained": "text-classification-zh",
    "multi_label_retained": "multi-label",
    "zh_retained_bilstm": "text-classification-zh-bilstm",
}
# Each task, and the run of it that is timed.
SPEEDUPS = {
    "question-answering": "question-answering",
    "token-classification": "token-classification",
    "sentence-similarity": "sentence-similarity",
    "sentence-embedding": "sentence-embedding",
    "text-classification": "text-classification-zh",
    "fill-mask": "fill-mask",
}
FURTHER = ("fill-mask", "fill-mask-then-classify")  # shown beside them
STUDENT = "student-int8"


def main() -> None:
    """Write benchmarks/results/tasks.json from the runs that are there."""
    runs = dict.fromkeys([*RETAINED.values(), *FURTHER])
    reports = {name: report for name in runs if (report := figures.report_of(RUNS / name, result="tasks"))}
    found: dict[str, float | None] = {key: _compared(reports.get(run), "retained") for key, run in RETAINED.items()}
    timed = {f"{task}/speedup_int8": run for task, run in SPEEDUPS.items()}
    found |= {key: _compared(reports.get(run), "speedup") for key, run in timed.items()}
    owed = RETAINED | timed
    reasons = {key: f"runs/{owed[key]} has no report" for key, value in found.items() if value is None}
    print(figures.write("tasks", figures=found, reasons=reasons, raw={"reports": reports}))
    for key, value in found.items():
        print(f"{key:45} {'-' if value is None else f'{value:.4f}'}")


def _compared(report: dict[str, Any] | None, what: str) -> float | None:
    if report is None:
        return None
    values: dict[str, float] = {one["target"]: one[what] for one in report["comparison"]}
    return values[STUDENT]


if __name__ == "__main__":
    main()
