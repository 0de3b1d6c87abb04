"""The sentences that mean most nearly the same as the first one, best first, with a bundle for sentence-similarity.

python examples/compare_sentences.py runs/sentence-similarity/student "It rains." "It is raining." "The sun shines."
"""

import sys

from kd_deploy import runtime

bundle, sentence, *others = sys.argv[1:]
with runtime.load(bundle) as model:
    answers = model.predict([(sentence, other) for other in others])
for answer, other in sorted(zip(answers, others, strict=True), key=lambda pair: -pair[0].score):
    print(f"{answer.score:.3f}", other, sep="\t")
