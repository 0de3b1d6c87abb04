"""The lines of a file that are nearest to a question, best first, with a bundle for sentence-embedding.

python examples/embed_sentences.py runs/sentence-embedding/student help-pages.txt "How do I change my address?"
"""

import sys
from pathlib import Path

import numpy as np

from kd_deploy import runtime

bundle, file, question = sys.argv[1:]
lines = Path(file).read_text(encoding="utf-8").splitlines()
with runtime.load(bundle) as model:
    vectors = np.stack([answer.vector for answer in model.predict([question, *lines])])  # [1 + lines, H]
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # not every encoder gives vectors of length 1
cosines = vectors[1:] @ vectors[0]  # [lines]
for number in np.argsort(-cosines)[:3]:
    print(f"{cosines[number]:.3f}", lines[number], sep="\t")
