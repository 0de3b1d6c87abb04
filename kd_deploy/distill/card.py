"""The README.md of a bundle: what it is, where it comes from, how to use it, and what it cannot do."""

from kd_deploy.manifest import Manifest, TaskRecord
from kd_deploy.tasks import text2text, text_generation
from kd_deploy.tasks.registry import TASKS

CARD = """---
pipeline_tag: {tag}
tags: [kd-deploy, knowledge-distillation]
---
# {title}

A {architecture} for {task} with {millions:.1f} million parameters, written by kd-deploy {version} on {created}.

| | |
|---|---|
{classes}{tasks}| longest input | {max_length} tokens; {rest} |
| teacher | {teacher} |
| training rows | {data} |
| objective | {objective} |
| on validation | {metrics} |

## Use
{before}
```python
from kd_deploy import runtime

with runtime.load("PATH") as model:
    print(model.predict([{example}]))
```

`bundle.json` holds the SHA-256 of every file, what each ONNX graph was checked against, and the lineage.

## Limits

It was judged on data like its own; measure it on yours with `kd-deploy evaluate PATH --data FILE`.
{limit}
"""

BEFORE = """
It reads the ONNX files in `onnx/`, without torch. Are there none yet? `kd-deploy export PATH --onnx --quantize`.
"""


def _rest_of(task: str) -> str:
    if task == text_generation.NAME:
        return "a prompt may be longer, as far as the model has positions"
    cut = TASKS[task].LEVEL == "text" or task == text2text.NAME
    return "the rest is cut" if cut else "longer ones are read in pieces"


def model_card(manifest: Manifest, *, title: str) -> str:
    """The README.md of a bundle."""
    return CARD.format(
        title=title,
        task=manifest.task,
        tag="feature-extraction" if TASKS[manifest.task].ANSWERS == "vector" else manifest.task,
        rest=_rest_of(manifest.task),
        architecture=manifest.architecture,
        millions=manifest.parameters / 1e6,
        version=manifest.kd_deploy,
        created=manifest.created,
        classes=_classes(manifest),
        tasks="".join(_row_of(name, task) for name, task in manifest.tasks.items()),
        max_length=manifest.max_length,
        teacher=manifest.lineage.teacher or "none",
        data=f"SHA-256 {manifest.lineage.data_sha256}" if manifest.lineage.data_sha256 else "none",
        before="" if manifest.graphs else BEFORE,
        objective=", ".join(manifest.lineage.objective) or "none",
        metrics=_told(manifest.metrics),
        example='("a text", "another text")' if len(TASKS[manifest.task].INPUTS) > 1 else '"a text"',
        limit=TASKS[manifest.task].LIMIT,
    )


def _classes(manifest: Manifest) -> str:
    if TASKS[manifest.task].NAMES is not None:
        return ""
    kind = "of each token" if TASKS[manifest.task].LEVEL == "token" else manifest.problem_type.replace("_", " ")
    return f"| classes | {', '.join(manifest.labels)} |\n| kind | {kind} |\n"


def _row_of(name: str, task: TaskRecord) -> str:
    kind = task.problem_type.replace("_", " ")
    return f'| task `{name}`, by `model.task("{name}")` | {kind}: {", ".join(task.labels)}; {_told(task.metrics)} |\n'


def _told(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "not measured"
