"""A trained model to a bundle's torch half: checkpoint, tokenizer, model card, manifest."""

from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle, sign, stamp
from kd_deploy.distill import processes
from kd_deploy.distill.checkpoints import save_model
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.torch_runner import input_names, parameter_count
from kd_deploy.files import staged
from kd_deploy.manifest import Lineage, Manifest, TrainingRecord
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
| longest input | {max_length} tokens; the rest is cut |
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


def write_bundle(
    output: Path,
    model: nn.Module,
    *,
    labels: LabelSpace,
    max_length: int,
    tokenizer_from: Path,
    lineage: Lineage,
    metrics: dict[str, float],
    training: tuple[TrainingRecord, ...] = (),
) -> Bundle:
    """Write a model as a bundle without ONNX files, whole or not at all.

    Args:
        output: The bundle's folder; what was there is replaced at the end.
        model: In fp32.
        labels: The classes of its logits.
        max_length: Tokens; longer inputs are cut.
        tokenizer_from: The folder whose tokenizer the model was trained with.
        lineage: Where it comes from.
        metrics: Its scores on validation.
        training: What it learned from, stage after stage; empty for a model that is used as it is.
    """
    with staged(output) as aside:
        save_model(model, aside, labels=labels, max_length=max_length, tokenizer_from=tokenizer_from)
        manifest = Manifest(
            **stamp(),
            task=NAME,
            architecture=type(model).__name__.lower() if is_ours(model) else "transformer",
            labels=labels.names,
            problem_type=labels.problem_type,
            max_length=max_length,
            inputs=input_names(model),
            parameters=parameter_count(model),
            lineage=lineage,
            metrics=metrics,
            training=training,
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
        max_length=manifest.max_length,
        teacher=manifest.lineage.teacher or "none",
        objective=", ".join(manifest.lineage.objective) or "none",
        metrics=", ".join(f"{name} {value:.4f}" for name, value in manifest.metrics.items()) or "not measured",
    )
