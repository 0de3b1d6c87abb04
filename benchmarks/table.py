"""The tables of README and of examples, made from the files in benchmarks/results; `--write` puts them in place."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = {
    "teacher": "teacher (MiniLM-L6-H384), transformers pipeline",
    "teacher-int8": "teacher, int8",
    "control": "{student} on labels alone, torch",
    "student": "{student}, torch",
    "student-fp32": "{student}, fp32",
    "student-int8": "{student}, **int8**",
}
LOOPS = {  # of training_speed.json: examples a second, and ours over theirs
    "TextBrewer, padded to the longest text of a batch": (
        "textbrewer_dynamic_examples_per_s",
        "ours_over_textbrewer",
    ),
    "TextBrewer, padded to the limit": ("textbrewer_padded_examples_per_s", "ours_over_textbrewer_padded"),
    "a plain loop: live teacher, padded to the limit, fp32": ("plain_examples_per_s", "ours_over_plain"),
}
STUDENTS = {"transformer3": "3-layer student", "bilstm": "BiLSTM student"}
NAMED = {  # the students of examples/distillation, by what objectives.json calls them
    "3x384": "`three-layers`",
    "bilstm": "`bilstm`",
    "bilstm128": "`bilstm128`",
    "2x128_8k": "`small-vocabulary`",
    "static": "`static`",
    "static_300k": "`static-more-texts`",
}


def of_runs(result: Mapping[str, Any]) -> str:
    """The two runs of sst2.json as one table."""
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


def of_objectives(result: Mapping[str, Any]) -> str | None:
    """The rows and students of objectives.json, a table for each data set.

    Bold is what validation chooses for a student, among the rows with most seeds. A share of fewer seeds than others
    has their number in brackets.
    """
    trained = {key.partition("/")[0] for key in result["cells"]}
    return "\n\n".join(_of_data(data, result) for data in result["teachers"] if data in trained) or None


def _of_data(data: str, result: Mapping[str, Any]) -> str:
    shares, standing = {}, {}
    for key, value in result["figures"].items():
        if key.startswith(f"{data}/") and value is not None:
            _, student, row = key.split("/")
            judged = result["cells"][key]["validation_accuracy"]
            shares[student, row], standing[student, row] = value, (len(judged), mean(judged))  # most seeds first
    most = max(seeds for seeds, _ in standing.values())
    students = list(dict.fromkeys(student for student, _ in shares))
    chosen = {max((key for key in shares if key[0] == one), key=standing.__getitem__) for one in students}
    lines = [f"| {data} | {' | '.join(students)} |", "|---" + "|--:" * len(students) + "|"]
    for row in _rows(shares):
        cells = []
        for key in ((student, row) for student in students):
            seeds = standing[key][0] if key in shares and standing[key][0] < most else None
            cells.append(_share(shares.get(key), bold=key in chosen, seeds=seeds))
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(shares: Mapping[tuple[str, str], float]) -> list[str]:
    # The rows in the order of the benchmark, as the student tells it that most of them fit.
    count = Counter(student for student, _ in shares)
    rows = [row for student, _ in count.most_common() for of, row in shares if of == student]
    return list(dict.fromkeys(rows))


def _share(share: float | None, *, bold: bool, seeds: int | None) -> str:
    if share is None:
        return ""
    return (f"**{share:.3f}**" if bold else f"{share:.3f}") + (f" ({seeds})" if seeds else "")


def of_students(result: Mapping[str, Any]) -> str:
    """The students of objectives.json that were trained whole, each beside the teacher and its control."""
    head = ["student", "teacher", "labels alone", "student", "int8", "÷ teacher", "× as fast", "MB"]
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for name, report in result["reports"].items():
        of = {one["name"]: one for one in report["targets"]}
        compared = next(one for one in report["comparison"] if one["target"] == "student-int8")
        cells = [
            NAMED[name],
            *(_quality(of.get(one), "accuracy") for one in ("teacher", "control", "student", "student-int8")),
            _ratio(compared, "retained", digits=3),
            _ratio(compared, "speedup", digits=1),
            f"{of['student-int8']['size_bytes'] / 1e6:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def of_training(result: Mapping[str, Any]) -> str:
    """Our path beside the loops of training_speed.json, and what a teacher costs once its answers are kept."""
    found, job = result["figures"], result["job"]
    rows = [("kd-deploy, the teacher's pass included", found["ours_examples_per_s"], 1.0)]
    rows += [
        (name, found[rate], found[ratio]) for name, (rate, ratio) in LOOPS.items() if found[rate] is not None
    ]  # left out by --skip-textbrewer
    lines = ["| | examples/s | kd-deploy × as fast |", "|---|--:|--:|"]
    lines += [f"| {name} | {rate:.0f} | {ratio:.1f} |" for name, rate, ratio in rows]
    later = (
        f"Three layers, {job['epochs']} epochs over {job['rows']:,} texts of SST-2 (the others over "
        f"{job['rows_of_others']} of them), {job['threads']} cores. A second run finds the teacher's "
        f"answers kept: an epoch takes {found['cached_epoch_over_label_epoch']:.2f} times as long as one on labels "
        "alone."
    )
    return "\n".join([*lines, "", later])


def of_tasks(result: Mapping[str, Any]) -> str:
    """Teacher, control and student of every run of tasks.json, side by side."""
    head = ["recipe", "metric", "teacher", "labels alone", "student", "int8", "÷ teacher", "× as fast", "MB"]
    lines = [f"| {' | '.join(head)} |", "|---|---" + "|--:" * (len(head) - 2) + "|"]
    for name, report in result["reports"].items():
        metric, of = report["main_metric"], {one["name"]: one for one in report["targets"]}
        compared = next(one for one in report["comparison"] if one["target"] == "student-int8")
        qualities = [_quality(of.get(one), metric) for one in ("teacher", "control", "student", "student-int8")]
        size = f"{of['student-int8']['size_bytes'] / 1e6:.1f}"
        ratios = [_ratio(compared, "retained", digits=3), _ratio(compared, "speedup", digits=1)]
        lines.append(f"| {' | '.join([f'`{name}`', metric, *qualities, *ratios, size])} |")
    return "\n".join(lines)


def of_generation(result: Mapping[str, Any]) -> str:
    """What the students of every run of generation.json write, beside teacher and control."""
    head = [
        "recipe",
        "metric",
        "teacher",
        "labels alone",
        "student",
        "int8",
        "÷ teacher",
        "× as fast",
        "tokens/s",
        "MB",
    ]
    lines = [f"| {' | '.join(head)} |", "|---|---" + "|--:" * (len(head) - 2) + "|"]
    for name, report in result["reports"].items():
        metric, of = report["main_metric"], {one["name"]: one for one in report["targets"]}
        compared = next((one for one in report["comparison"] if one["target"] == "student-int8"), None)
        shipped = of["student-int8"]
        cells = [
            f"`{name}`",
            metric,
            *(_quality(of.get(one), metric) for one in ("teacher", "control", "student", "student-int8")),
            _ratio(compared, "retained", digits=3),
            _ratio(compared, "speedup", digits=1),
            f"{shipped['end_to_end']['tokens_per_s']:.0f}",
            f"{shipped['size_bytes'] / 1e6:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def of_ways(result: Mapping[str, Any]) -> str:
    """What the student of every run of ways.json learned from, and what it keeps."""
    head = ["recipe", "data", "teacher", "student", "int8", "÷ teacher"]
    lines = [f"| {' | '.join(head)} |", "|---|---" + "|--:" * (len(head) - 2) + "|"]
    for name, report in result["reports"].items():
        metric, of = report["main_metric"], {one["name"]: one for one in report["targets"]}
        compared = next(one for one in report["comparison"] if one["target"] == "student-int8")
        qualities = [_quality(of[one], metric) for one in ("teacher", "student", "student-int8")]
        data = Path(report["data"]["name"]).parent.name
        lines.append(f"| {' | '.join([f'`{name}`', data, *qualities, _ratio(compared, 'retained', digits=3)])} |")
    return "\n".join(lines)


def _ratio(compared: Mapping[str, Any] | None, what: str, *, digits: int) -> str:
    return "" if compared is None or compared[what] is None else f"{compared[what]:.{digits}f}"


def _quality(target: Mapping[str, Any] | None, metric: str) -> str:
    return "" if target is None else f"{target['quality'][metric]:.{2 if metric == 'perplexity' else 4}f}"


README, WAYS = ROOT / "README.md", ROOT / "examples" / "distillation" / "README.md"
TABLES = {  # by its mark: the result file that it is made from, and how
    "sst2": ("sst2", of_runs),
    "students": ("objectives", of_students),
    "objectives": ("objectives", of_objectives),
    "training": ("training_speed", of_training),
    "tasks": ("tasks", of_tasks),
    "generation": ("generation", of_generation),
    "ways": ("ways", of_ways),
}


def render(name: str) -> str | None:
    """The table of a mark; None where it was not measured."""
    source, table = TABLES[name]
    path = RESULTS / f"{source}.json"
    return table(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a table."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def page_of(name: str) -> Path:
    """Where a table stands."""
    return WAYS if name == "ways" else README


def main() -> None:
    """Print the tables, or write them into the pages."""
    for name in TABLES:
        page, table, (begin, end) = page_of(name), render(name), marks(name)
        text = page.read_text(encoding="utf-8")
        if table is None or begin not in text:
            continue
        before, rest = text.split(begin)
        print(table)
        if "--write" in sys.argv:
            page.write_text(f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
