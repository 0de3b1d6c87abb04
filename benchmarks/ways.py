"""Every way to distil, run once on real data: what its student keeps of its teacher.

Run the recipes of `examples/distillation` first, each into `runs/` under its own name; to be done in a few hours on two
cores, with `--set data.train_limit=20000 --set distill.control=false`, as each report's command says. Then
`python benchmarks/ways.py` collects the reports that are there; of a run that is gone, the report stays that the result
file has. Times are beside other work and not shown.
"""

from pathlib import Path

import figures

RUNS = Path("runs")
WAYS = (
    "stages",
    "relations",
    "layers-auto",
    "augment",
    "lora",
    "active",
    "several-teachers",
    "domain",
    "lstm-student",
    "endpoint",
    "tasks",
    "robust",
)
STUDENT = "student-int8"


def main() -> None:
    """Write benchmarks/results/ways.json from the runs that are there."""
    reports = {name: report for name in WAYS if (report := figures.report_of(RUNS / name, result="ways"))}
    found: dict[str, float | None] = dict.fromkeys((f"retained_{name}" for name in WAYS), None)
    for name, report in reports.items():
        of = {one["target"]: one["retained"] for one in report["comparison"]}
        found[f"retained_{name}"] = of[STUDENT]
    reasons = {key: "not run yet" for key, value in found.items() if value is None}
    print(figures.write("ways", figures=found, reasons=reasons, raw={"reports": reports}))


if __name__ == "__main__":
    main()
