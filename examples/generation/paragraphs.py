"""Texts for language-model.yaml and its teacher: the paragraphs that SQuAD asks about, each once.

The teacher reads twelve thousand of them, and four thousand others are there for students, as it is with a checkpoint
whose own texts are not at hand.

python examples/generation/paragraphs.py ../shared/data/squad runs/paragraphs
"""

import gzip
import json
import random
import sys
from pathlib import Path

SHARES = {"teacher": 12_000, "student": 4_000, "validation": 500}


def paragraphs(file: Path) -> list[str]:
    """The contexts of a split, equal ones once."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return list(dict.fromkeys(json.loads(line)["context"] for line in lines))


squad, output = Path(sys.argv[1]), Path(sys.argv[2])
output.mkdir(parents=True, exist_ok=True)
drawn = iter(random.Random(0).sample(paragraphs(squad / "train.jsonl.gz"), sum(SHARES.values())))  # noqa: S311
found = {name: [next(drawn) for _ in range(count)] for name, count in SHARES.items()}
found["test"] = paragraphs(squad / "validation.jsonl.gz")  # of other articles
for name, texts in found.items():
    rows = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (output / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    print(f"{len(texts)} texts in {output / name}.jsonl")
