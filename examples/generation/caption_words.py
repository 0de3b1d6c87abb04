"""Rows for sentence.yaml: of each caption the words that carry it, in the order of the alphabet, and the caption.

All in lower case, which is what the tokenizer of captions.yaml knows.

python examples/generation/caption_words.py ../shared/data/multi30k_en_de runs/words
"""

import gzip
import json
import re
import sys
from pathlib import Path

EMPTY = frozenset(
    {"a", "an", "and", "are", "as", "at", "by", "for", "from", "has", "her", "his", "in", "is", "it", "its"}
    | {"of", "on", "one", "or", "some", "that", "the", "their", "there", "to", "with"}
)


def words_of(caption: str) -> str:
    """The words of a caption that are not in `EMPTY`, each once."""
    return " ".join(sorted(set(re.findall(r"[a-z'-]+", caption)) - EMPTY))


captions, output = Path(sys.argv[1]), Path(sys.argv[2])
output.mkdir(parents=True, exist_ok=True)
for split in ("train", "validation", "test"):
    with gzip.open(captions / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line)["source"].lower() for line in lines]
    rows = [{"source": words_of(one), "target": one} for one in found if words_of(one)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (output / f"{split}.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(rows)} rows in {output / split}.jsonl")
