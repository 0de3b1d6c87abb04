"""Models that write: what students keep of their teachers, and how fast they write.

Run the recipes of examples/generation first, each as its comment says; then `python benchmarks/generation.py`, which
collects their reports and measures, in turns and on one thread, the language model's int8 student against `generate` of
its teacher in torch. What a process needs to generate is measured of that student, and of one of the size of half a
GPT-2 with random weights: beside a file of a few megabytes, what onnxruntime needs to start at all is most of it. Of
runs that are gone, the figures stay that the result file has.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import figures

RUNS = Path("runs")
TRANSLATION, WORD_LEVEL, LSTM, MODEL = "translation", "word-level", "translation-lstm", "language-model"
FURTHER = ("shakespeare", "on-policy", "sentence")  # shown beside them
SHIPPED = "student-int8"
MEASURED = (
    "decode_speedup_int8",
    "first_token_speedup_int8",
    "generate_peak_over_file",
    "generate_peak_over_file_half_gpt2",
)
PROMPT_TOKENS, NEW_TOKENS, ROUNDS, PROMPTS = 64, 48, 7, 8
HALF_GPT2 = {"n_layer": 6, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
# Peak memory of a process that generates, above what it had when everything was imported.
MEMORY = """
import json, sys, psutil
from kd_deploy import runtime
from kd_deploy.benchmark.worker import peak_bytes
idle = psutil.Process().memory_info().rss
with runtime.load(sys.argv[1], precision="int8", threads=1) as model:
    for prompt in json.loads(sys.argv[2]):
        model.predict([prompt])
    print(json.dumps({"bytes": peak_bytes() - idle}))
"""


def main() -> None:
    """Write benchmarks/results/generation.json from the runs that are there."""
    earlier = figures.read("generation")
    reports = {name: _report(name) for name in (TRANSLATION, WORD_LEVEL, LSTM, MODEL)}
    found: dict[str, float | None] = {
        "bleu_retained_transformer": _compared(reports[TRANSLATION]),
        "bleu_retained_lstm": _compared(reports[LSTM]),
        "bleu_sequence_minus_word": _minus(_quality(reports[TRANSLATION], "student", "bleu"), reports[WORD_LEVEL]),
        "lm_ppl_distilled": _quality(reports[MODEL], "student", "perplexity"),
        "lm_ppl_control": _quality(reports[MODEL], "control", "perplexity"),
    }
    found |= {f"greedy_identical_{one}": _least_identical(one) for one in ("fp32", "int8", "int4")}
    samples = _measured() if (RUNS / MODEL).is_dir() else earlier.get("samples", {})
    found |= {name: samples.get(name) for name in MEASURED}
    found = {key: earlier.get("figures", {}).get(key) if value is None else value for key, value in found.items()}
    missing = [name for name, report in reports.items() if report is None]
    without = f"without a report: {', '.join(missing)}" if missing else "no run has such a graph"
    reasons = {key: without for key, value in found.items() if value is None}
    reports |= {name: _report(name) for name in FURTHER}
    raw = {"reports": {name: one for name, one in reports.items() if one}, "samples": samples}
    print(figures.write("generation", figures=found, reasons=reasons, raw=raw))
    for key, value in found.items():
        print(f"{key:32} {'-' if value is None else f'{value:.4f}'}")


def _report(name: str) -> dict[str, Any] | None:
    return figures.report_of(RUNS / name, result="generation")


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
    return {
        "decode_speedup_int8": median(tokens_s["student"]) / median(tokens_s["teacher"]),
        "first_token_speedup_int8": median(first_s["teacher"]) / median(first_s["student"]),
        "generate_peak_over_file": _peak_over_file(run / "student", prompts),
        "generate_peak_over_file_half_gpt2": _of_half_gpt2(run / "teacher", prompts),
        "tokens_per_s": tokens_s,
        "first_token_s": first_s,
    }


def _peak_over_file(bundle: Path, prompts: Sequence[str]) -> float:
    peaks = figures.in_child(MEMORY, str(bundle), json.dumps(prompts), repeats=3)
    size = (bundle / "onnx" / "model_quantized.onnx").stat().st_size
    return figures.median([one["bytes"] for one in peaks]) / size


def _of_half_gpt2(teacher: Path, prompts: Sequence[str]) -> float:
    """The same of a larger model of the teacher's kind; what its weights say changes nothing."""
    from transformers import GPT2LMHeadModel

    from kd_deploy.pipeline.export import export_model

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoint"
        shutil.copytree(teacher, folder, ignore=shutil.ignore_patterns("onnx", "bundle.json"))
        model = GPT2LMHeadModel.from_pretrained(folder)
        for name, value in HALF_GPT2.items():
            setattr(model.config, name, value)
        GPT2LMHeadModel(model.config).save_pretrained(folder)
        bundle = export_model(
            str(folder),
            Path(temporary) / "bundle",
            precisions=("int8",),
            opset=17,
            backend="torch",
            max_accuracy_drop=None,
            examples=None,
        )
        return _peak_over_file(bundle.path, prompts)


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
