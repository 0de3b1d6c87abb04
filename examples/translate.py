"""A text for every line of standard input, such as its translation, with a bundle for text2text.

python examples/translate.py runs/translation/student < letters.txt
"""

import sys

from kd_deploy import runtime

with runtime.load(sys.argv[1]) as model:
    for answer in model.stream(line.rstrip("\n") for line in sys.stdin):
        print(answer.text)
