"""What may stand in the gaps of a text, with a bundle for fill-mask.

python examples/fill_gaps.py runs/fill-mask/student "The bridge was [MASK] in the last [MASK]."
"""

import sys

from kd_deploy import runtime

with runtime.load(sys.argv[1]) as model:
    for answer in model.predict(sys.argv[2:]):
        for place in answer.places:
            print(answer.text, ", ".join(f"{one.token} {one.score:.2f}" for one in place), sep="\t")
