"""Answers to questions about a text file, with a bundle for question-answering.

python examples/answer_questions.py runs/question-answering/student README.md "What does the tool make?"
"""

import sys
from pathlib import Path

from kd_deploy import runtime

bundle, file, *questions = sys.argv[1:]
context = Path(file).read_text(encoding="utf-8")
with runtime.load(bundle) as model:
    for question, answer in zip(questions, model.predict([(one, context) for one in questions]), strict=True):
        print(question, answer.text or "no answer", f"{answer.score:.2f}", sep="\t")
