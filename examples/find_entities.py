"""The names in every line of standard input, with a bundle for token-classification.

python examples/find_entities.py runs/token-classification/student < letters.txt
"""

import sys

from kd_deploy import runtime

with runtime.load(sys.argv[1]) as model:
    for answer in model.stream(line.rstrip("\n") for line in sys.stdin):
        print(", ".join(f"{one.text} ({one.type})" for one in answer.entities))
