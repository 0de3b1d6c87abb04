"""How fast students are trained: our path, the plain loop, TextBrewer, and our trainer on labels alone.

`python benchmarks/training_speed.py` on a quiet machine, with the rows of SST-2 beside the project. The job is
`examples/sst2.yaml` over rows drawn from its training set, on the CPU. Every side trains the same student for the same
epochs in a process of its own, and they take turns. What is timed goes from texts to trained student: tokenising,
asking the teacher and every step; importing and loading models is left out, and so are some first steps over other
rows. Ours also evaluates each epoch on a few rows and saves it; TextBrewer saves at the end, the plain loop never.
The plain loop and TextBrewer cost the same in every step, so they take the first few hundred of the rows only.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import figures
import numpy as np
from training_inputs import ROOT, VALIDATION_ROWS, WARM_UP_STEPS, write_job

HERE = Path(__file__).resolve().parent
VENV = ROOT / ".venv-textbrewer"
TEXTBREWER = str(VENV / "bin" / "python")
OTHERS = ("plain", "textbrewer_padded", "textbrewer_dynamic")
# The two that are compared most closely take two turns each, mirrored: a machine that drifts favours neither.
TURNS = ("ours", "cached", "labels", "plain", "labels", "cached", "textbrewer_padded", "textbrewer_dynamic")

Sample = dict[str, Any]
Samples = Mapping[str, Sequence[Sample]]


def main() -> None:
    """Measure all sides in turns and write benchmarks/results/training_speed.json."""
    options = _options()
    if not options.skip_textbrewer:
        _make_textbrewer_environment()
    turns = [side for side in TURNS if not (options.skip_textbrewer and side.startswith("textbrewer"))]
    samples: dict[str, list[Sample]] = {side: [] for side in turns}
    with tempfile.TemporaryDirectory() as work:
        recipe = write_job(Path(work), options)
        for number, side in itertools.product(range(options.rounds), turns):
            sample = _run(side, Path(work), number=number, threads=options.threads)
            samples[side].append(sample)
            print(f"round {number + 1}, {side}: {_seconds(sample):.1f} s", file=sys.stderr)
    found = _figures(samples, options)
    reasons = {key: "--skip-textbrewer" for key, value in found.items() if value is None}
    raw = {
        "job": {
            "rows": options.rows,
            "rows_of_others": options.rows_of_others,
            "epochs": options.epochs,
            "rounds": options.rounds,
            "threads": options.threads,
            "seed": options.seed,
            "validation_rows_of_ours": VALIDATION_ROWS,
            "warm_up_steps": WARM_UP_STEPS,
            "max_length": recipe.data.max_length,
            "student": recipe.student.model_dump(mode="json"),
            "distill": recipe.stages[0].model_dump(mode="json"),
        },
        "samples": samples,
    }
    print(figures.write("training_speed", figures=found, reasons=reasons, raw=raw))
    for key, value in found.items():
        print(f"{key:40} {'-' if value is None else f'{value:.3f}'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows",
        type=int,
        default=12800,
        help="rows drawn from the training set (default: 12800; our trainer sorts fifty batches at a time by "
        "length: with fewer rows it pads more than over the whole set)",
    )
    parser.add_argument("--epochs", type=int, default=3, help="epochs of every side (default: 3)")
    parser.add_argument(
        "--rows-of-others",
        type=int,
        default=512,
        help="rows of the plain loop and TextBrewer, the first of the draw (default: 512; their speed is that of "
        "a step, whatever the number)",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the rows")
    parser.add_argument("--skip-textbrewer", action="store_true")
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "examples" / "sst2.yaml", help="(default: examples/sst2.yaml)"
    )
    return parser.parse_args()


def _make_textbrewer_environment() -> None:
    """Make it where it is not there, and again when its requirements change."""
    requirements, pins = HERE / "requirements-textbrewer.txt", VENV / ".pins"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if pins.is_file() and pins.read_text(encoding="utf-8") == wanted:
        return
    print("making .venv-textbrewer", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    install = [TEXTBREWER, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), "-r", str(requirements)], check=True)
    pins.write_text(wanted, encoding="utf-8")


def _run(side: str, work: Path, *, number: int, threads: int) -> Sample:
    """The turn of a side in a round, in a fresh process; each round has a cache of its own."""
    cache, others = str(work / "caches" / str(number)), str(work / "others")
    commands = {
        "ours": [sys.executable, "training_ours.py", str(work), cache],
        "cached": [sys.executable, "training_ours.py", str(work), cache],
        "labels": [sys.executable, "training_ours.py", str(work), "labels"],
        "plain": [sys.executable, "plain_loop.py", others, "max_length"],
        "textbrewer_padded": [TEXTBREWER, "textbrewer_loop.py", others, "max_length"],
        "textbrewer_dynamic": [TEXTBREWER, "textbrewer_loop.py", others, "longest"],
    }
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    settings = {name: str(threads) for name in names} | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        commands[side], cwd=HERE, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"{side} failed:\n{ran.stderr}")
    sample: Sample = json.loads(ran.stdout.splitlines()[-1])
    _check(side, sample)
    return sample


def _check(side: str, sample: Sample) -> None:
    """A side that did not do its work has no speed."""
    if side == "ours" and sample["reused"]:
        raise SystemExit(f"ours found {sample['reused']} texts in a cache that should be empty")
    if side == "cached" and (sample["computed"] or not sample["reused"]):
        raise SystemExit(f"the second run asked the teacher about {sample['computed']} texts again")


def _seconds(sample: Sample) -> float:
    return float(sample.get("teacher_s", 0.0) + sample["train_s"])


def _figures(samples: Samples, options: argparse.Namespace) -> dict[str, float | None]:
    rows = {side: options.rows_of_others if side in OTHERS else options.rows for side in TURNS}

    def rates(side: str) -> list[float]:
        return [options.epochs * rows[side] / _seconds(sample) for sample in samples.get(side, ())]

    padded, dynamic = rates("textbrewer_padded"), rates("textbrewer_dynamic")
    pairs = list(zip(samples["cached"], samples["labels"], strict=True))
    return {
        "ours_over_plain": _ratio(rates("ours"), rates("plain")),
        "ours_over_textbrewer": _ratio(rates("ours"), dynamic),
        "ours_over_textbrewer_padded": _ratio(rates("ours"), padded),
        "cached_epoch_over_label_epoch": figures.median([_seconds(one) / _seconds(other) for one, other in pairs]),
        "cached_steps_over_label_steps": figures.median(
            [_steps_s(one, options.epochs) / _steps_s(other, options.epochs) for one, other in pairs]
        ),
        "ours_examples_per_s": figures.median(rates("ours")),
        "ours_teacher_pass_texts_per_s": _median(samples["ours"], lambda one: options.rows / one["teacher_s"]),
        "ours_training_examples_per_s": _median(
            samples["ours"], lambda one: options.epochs * options.rows / one["train_s"]
        ),
        "plain_examples_per_s": figures.median(rates("plain")),
        "textbrewer_padded_examples_per_s": figures.median(padded) if padded else None,
        "textbrewer_dynamic_examples_per_s": figures.median(dynamic) if dynamic else None,
        "cached_epoch_s": _median(samples["cached"], lambda one: _seconds(one) / options.epochs),
        "label_epoch_s": _median(samples["labels"], lambda one: _seconds(one) / options.epochs),
    }


def _median(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    return figures.median([value(one) for one in samples])


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The middle of the rounds' ratios: a slow minute hits both sides of a round."""
    return figures.median([one / other for one, other in zip(ours, theirs, strict=True)]) if theirs else None


def _steps_s(sample: Sample, epochs: int) -> float:
    """Seconds of the steps alone: without the first, and without what lies between two epochs."""
    ends = np.array(sample["step_ends_s"]).reshape(epochs, -1)  # [epochs, steps]
    return float(np.diff(ends, axis=1).sum())


if __name__ == "__main__":
    main()
