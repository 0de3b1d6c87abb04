"""Models that write: what students keep of their teachers, and how fast they write.

Run the recipes first, each into `runs/` under its own name (`kd-deploy run examples/generation/translation.yaml
--output runs/translation`, then translation-word-level, translation-lstm and language-model, as each says); then
`python benchmarks/generation.py`, which collects their reports and measures, in turns and on one thread, the language
model's int8 student against `generate` of its teacher in torch.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import figures

RUNS = Path("runs")
TRANSLATION, WORD_LEVEL, LSTM, MODEL = "translation", "word-level", "translation-lstm", "language-model"
SHIPPED = "student-int8"
PROMPT_TOKENS, NEW_TOKENS, ROUNDS, PROMPTS = 64, 48, 7, 8
# Peak memory of a process that generates, above what it had when everything was imported.
MEMORY = """
import json, sys, psutil
from kd_deploy import runtime
from kd_deploy.benchmark.worker import peak_bytes
idle = psutil.Process().memory_info().rss
with runtime.load(sys.argv[1], precision="int8", threads=1) as model:
    for prompt in json.loads(sys.argv[2]):
        model.predict([prompt])
    print(peak_bytes() - idle)
"""


def main() -> None:
    """Write benchmarks/results/generation.json from the runs that are there."""
    reports = {name: _report(name) for name in (TRANSLATION, WORD_LEVEL, LSTM, MODEL)}
    found: dict[str, float | None] = {
        "bleu_retained_transformer": _compared(reports[TRANSLATION]),
        "bleu_retained_lstm": _compared(reports[LSTM]),
        "bleu_sequence_minus_word": _minus(_quality(reports[TRANSLATION], "student", "bleu"), reports[WORD_LEVEL]),
        "lm_ppl_distilled": _quality(reports[MODEL], "student", "perplexity"),
        "lm_ppl_control": _quality(reports[MODEL], "control", "perplexity"),
    }
    found |= {f"greedy_identical_{one}": _least_identical(one) for one in ("fp32", "int8", "int4")}
    samples = _measured() if reports[MODEL] else {}
    for name in ("decode_speedup_int8", "first_token_speedup_int8", "generate_peak_over_file"):
        found[name] = samples.get(name)
    missing = [name for name, report in reports.items() if report is None]
    reasons = {key: f"without a report: {', '.join(missing)}" for key, value in found.items() if value is None}
    raw = {"reports": {name: one for name, one in reports.items() if one}, "samples": samples}
    print(figures.write("generation", figures=found, reasons=reasons, raw=raw))
    for key, value in found.items():
        print(f"{key:32} {'-' if value is None else f'{value:.4f}'}")


def _report(name: str) -> dict[str, Any] | None:
    path = RUNS / name / "report.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _compared(report: dict[str, Any] | None) -> float | None:
    if report is None:
        return None
    values: dict[str, float] = {one["target"]: one["retained"] for one in report["comparison"]}
    return values[SHIPPED]


def _quality(report: dict[str, Any] | None, target: str, metric: str) -> float | None:
    if report is None:
        return None
    values: dict[str, float] = {one["name"]: one["quality"][metric] for one in report["targets"]}
    return values[target]


def _minus(sequence: float | None, word_level: dict[str, Any] | None) -> float | None:
    word = _quality(word_level, "student", "bleu")
    return None if sequence is None or word is None else 100 * (sequence - word)


def _least_identical(precision: str) -> float | None:
    found = []
    for name in (TRANSLATION, LSTM, MODEL):
        manifest = RUNS / name / "student" / "bundle.json"
        graphs = json.loads(manifest.read_text(encoding="utf-8"))["graphs"] if manifest.is_file() else {}
        found += [graphs[precision]["greedy_identical"]] if precision in graphs else []
    return min(found) if found else None


def _measured() -> dict[str, Any]:
    """The int8 student against `generate` of its teacher, over the same prompts, in turns."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kd_deploy import runtime
    from kd_deploy.generation import Generation

    run = RUNS / MODEL
    prompts = _prompts(run)
    torch.set_num_threads(1)
    model, tokenizer = (
        one.from_pretrained(run / "teacher", local_files_only=True) for one in (AutoModelForCausalLM, AutoTokenizer)
    )

    def generated(text: str, tokens: int) -> int:
        given = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            found = model.generate(**given, max_new_tokens=tokens, do_sample=False)
        return int(found.shape[1] - given["input_ids"].shape[1])

    tokens_s: dict[str, list[float]] = {"teacher": [], "student": []}
    first_s: dict[str, list[float]] = {"teacher": [], "student": []}
    with runtime.load(run / "student", precision="int8", threads=1) as student:
        writes: dict[str, Callable[[str, int], int]] = {
            "teacher": generated,
            "student": lambda text, n: len(student.writer.write([text], Generation(max_new_tokens=n))[0].tokens),
        }
        for name, prompt in ((name, prompt) for _ in range(ROUNDS) for prompt in prompts for name in writes):
            start = time.perf_counter()
            writes[name](prompt, 1)
            first_s[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            count = writes[name](prompt, NEW_TOKENS)
            tokens_s[name].append(count / (time.perf_counter() - start))
        size = student_bytes(run)
    peak = subprocess.run(
        [sys.executable, "-c", MEMORY, str(run / "student"), json.dumps(prompts)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "decode_speedup_int8": median(tokens_s["student"]) / median(tokens_s["teacher"]),
        "first_token_speedup_int8": median(first_s["teacher"]) / median(first_s["student"]),
        "generate_peak_over_file": int(peak.stdout) / size,
        "tokens_per_s": tokens_s,
        "first_token_s": first_s,
    }


def student_bytes(run: Path) -> int:
    """The size of the graph that the int8 student is."""
    return (run / "student" / "onnx" / "model_quantized.onnx").stat().st_size


def _prompts(run: Path) -> Sequence[str]:
    """The beginnings of paragraphs that nobody learned from, of as many tokens each."""
    from tokenizers import Tokenizer

    from kd_deploy.recipe import Recipe
    from kd_deploy.tasks.registry import TASKS
    from kd_deploy.tasks.splits import read_splits

    recipe = Recipe.load(run / "recipe.resolved.yaml")
    test = read_splits(recipe.data, task=TASKS[recipe.task]).test
    assert test is not None
    tokenizer = Tokenizer.from_file(str(run / "student" / "tokenizer.json"))
    tokenizer.no_truncation()
    found = []
    for text in test.inputs:
        encoding = tokenizer.encode(str(text))
        if len(encoding.ids) >= PROMPT_TOKENS:
            cut = str(text)[: encoding.offsets[PROMPT_TOKENS - 1][1]]
            if len(tokenizer.encode(cut).ids) == PROMPT_TOKENS:
                found.append(cut)
    return found[:PROMPTS]


if __name__ == "__main__":
    main()
