"""How a text goes on, piece by piece as it is written, with a bundle for text-generation.

python examples/write_on.py runs/shakespeare/student "Once upon a time"
"""

import sys

from kd_deploy import runtime
from kd_deploy.generation import Generation

bundle, prompt = sys.argv[1:]
settings = Generation(max_new_tokens=100, temperature=0.8, top_p=0.95)
with runtime.load(bundle) as model:
    print(prompt, end="")
    for piece in model.writer.stream(prompt, settings):
        print(piece, end="", flush=True)
print()
