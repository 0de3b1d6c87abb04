"""A trained model to a bundle's torch half: checkpoint, tokenizer, model card, manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from kd_deploy.bundle import Bundle, sign, stamp
from kd_deploy.distill import processes
from kd_deploy.distill.card import model_card
from kd_deploy.distill.checkpoints import save_model
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.torch_runner import input_names, parameter_count
from kd_deploy.files import staged
from kd_deploy.generation import Generation
from kd_deploy.manifest import Lineage, Manifest, TaskRecord, TrainingRecord
from kd_deploy.tasks.heads import joint_labels, lay_out
from kd_deploy.tasks.registry import graph_outputs, task_of
from kd_deploy.tasks.task import LabelSpace


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
    generation: Generation | None = None,
) -> Bundle:
    """Write a model as a bundle without ONNX files, whole or not at all.

    Args:
        output: The bundle's folder; what was there is replaced at the end.
        model: In fp32.
        labels: The classes of its main task, whose logits come first.
        max_length: Tokens that are read at once.
        tokenizer_from: The folder whose tokenizer the model was trained with.
        lineage: Where it comes from.
        outcome: What its training came to.
        generation: How it writes, where it does and nobody says otherwise.
    """
    tasks = outcome.tasks
    spaces = {name: LabelSpace(names=one.labels, problem_type=one.problem_type) for name, one in tasks.items()}
    heads = lay_out(labels, spaces)
    with staged(output) as aside:
        save_model(model, aside, labels=joint_labels(heads), max_length=max_length, tokenizer_from=tokenizer_from)
        manifest = Manifest(
            **stamp(),
            task=labels.task,
            architecture=type(model).__name__.lower() if is_ours(model) else "transformer",
            labels=labels.names,
            problem_type=labels.problem_type,
            tasks=dict(tasks),
            max_length=max_length,
            generation=generation,
            inputs=input_names(model),
            outputs=tuple(head.output for head in heads.values()) if tasks else graph_outputs(task_of(labels)),
            parameters=parameter_count(model),
            lineage=lineage,
            metrics=outcome.metrics,
            training=outcome.training,
        )
        (aside / "README.md").write_text(model_card(manifest, title=output.name), encoding="utf-8")
        sign(aside, manifest)
    processes.wait()
    return Bundle.open(output)
