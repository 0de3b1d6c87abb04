"""A trained model to a bundle's torch half: checkpoint, tokenizer, model card, manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle, sign, stamp
from kd_deploy.distill import processes
from kd_deploy.distill.checkpoints import save_model
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.torch_runner import input_names, parameter_count
from kd_deploy.files import staged
from kd_deploy.manifest import Lineage, Manifest, TaskRecord, TrainingRecord
from kd_deploy.tasks.heads import joint_labels, lay_out
from kd_deploy.tasks.text_classification import NAME, LabelSpace

CARD = """---
pipeline_tag: {task}
tags: [kd-deploy, knowledge-distillation]
---
# {title}

A {architecture} for {task} with {millions:.1f} million parameters, written by kd-deploy {version} on {created}.

| | |
|---|---|
| classes | {labels} |
| kind | {problem_type} |
{tasks}| longest input | {max_length} tokens; the rest is cut |
| teacher | {teacher} |
| objective | {objective} |
| on validation | {metrics} |

## Use

```python
from kd_deploy import runtime

with runtime.load("PATH") as model:
    print(model.predict(["a text"]))
```

`bundle.json` holds the SHA-256 of every file, what each ONNX graph was checked against, and the lineage.

## Limits

It was judged on data like its own; measure it on yours with `kd-deploy evaluate PATH --data FILE`.
It gives one of its classes to any text, whatever the text is about.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to: scores on validation, what was learned from in each stage, and the further tasks.

    `training` is empty for a model that is used as it is.
    """

    metrics: dict[str, float]
    training: tuple[TrainingRecord, ...] = ()
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)


def write_bundle(
    output: Path,
    model: nn.Module,
    *,
    labels: LabelSpace,
    max_length: int,
    tokenizer_from: Path,
    lineage: Lineage,
    outcome: Outcome,
) -> Bundle:
    """Write a model as a bundle without ONNX files, whole or not at all.

    Args:
        output: The bundle's folder; what was there is replaced at the end.
        model: In fp32.
        labels: The classes of its main task, whose logits come first.
        max_length: Tokens; longer inputs are cut.
        tokenizer_from: The folder whose tokenizer the model was trained with.
        lineage: Where it comes from.
        outcome: What its training came to.
    """
    tasks = outcome.tasks
    spaces = {name: LabelSpace(names=one.labels, problem_type=one.problem_type) for name, one in tasks.items()}
    heads = lay_out(labels, spaces)
    with staged(output) as aside:
        save_model(model, aside, labels=joint_labels(heads), max_length=max_length, tokenizer_from=tokenizer_from)
        manifest = Manifest(
            **stamp(),
            task=NAME,
            architecture=type(model).__name__.lower() if is_ours(model) else "transformer",
            labels=labels.names,
            problem_type=labels.problem_type,
            tasks=dict(tasks),
            max_length=max_length,
            inputs=input_names(model),
            outputs=tuple(head.output for head in heads.values()),
            parameters=parameter_count(model),
            lineage=lineage,
            metrics=outcome.metrics,
            training=outcome.training,
        )
        (aside / "README.md").write_text(model_card(manifest, title=output.name), encoding="utf-8")
        sign(aside, manifest)
    processes.wait()
    return Bundle.open(output)


def model_card(manifest: Manifest, *, title: str) -> str:
    """The README.md of a bundle."""
    return CARD.format(
        title=title,
        task=manifest.task,
        architecture=manifest.architecture,
        millions=manifest.parameters / 1e6,
        version=manifest.kd_deploy,
        created=manifest.created,
        labels=", ".join(manifest.labels),
        problem_type=manifest.problem_type.replace("_", " "),
        tasks="".join(_row_of(name, task) for name, task in manifest.tasks.items()),
        max_length=manifest.max_length,
        teacher=manifest.lineage.teacher or "none",
        objective=", ".join(manifest.lineage.objective) or "none",
        metrics=_told(manifest.metrics),
    )


def _row_of(name: str, task: TaskRecord) -> str:
    kind = task.problem_type.replace("_", " ")
    return f'| task `{name}`, by `model.task("{name}")` | {kind}: {", ".join(task.labels)}; {_told(task.metrics)} |\n'


def _told(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "not measured"
