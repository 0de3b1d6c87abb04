"""A checkpoint that is used as it is: whether it fits what is asked of it, and its bundle."""

from pathlib import Path

from kd_deploy.bundle import Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.bundling import Outcome, write_bundle
from kd_deploy.distill.checkpoints import labels_of, load_model
from kd_deploy.distill.tokenizer_files import max_positions
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import BundleError, DataError, RecipeError
from kd_deploy.machine import installed_versions
from kd_deploy.manifest import Lineage
from kd_deploy.tasks.task import LabelSpace


def check_fits(folder: Path, *, max_length: int) -> None:
    """Refuse a length limit beyond the model's positions, and a tokenizer beyond its word vectors.

    Raises:
        RecipeError: Naming both numbers.
        BundleError: The tokenizer gives ids that the model has no vector for.
    """
    encoder, rows = open_encoder(folder, max_length=max_length), check_checkpoint(folder).get("vocab_size")
    if isinstance(rows, int) and encoder.tokenizer.get_vocab_size() > rows:
        raise BundleError(
            f"{folder} has a tokenizer of {encoder.tokenizer.get_vocab_size()} entries, and a model of {rows}",
            hint="use the tokenizer that the model was trained with",
        )
    positions = max_positions(folder)
    if positions is not None and max_length > positions:
        raise RecipeError(
            f"data.max_length {max_length} is more than the {positions} positions of {folder}",
            hint=f"set data.max_length to {positions} or less",
        )


def adopt_checkpoint(folder: Path, output: Path, *, max_length: int, name: str) -> Bundle:
    """Write any checkpoint with the head of a task as a bundle, as it is.

    Raises:
        DataError: It has no such head.
        BundleError: It cannot be opened.
    """
    check_fits(folder, max_length=max_length)
    labels = labels_of(folder)
    if labels is None:
        raise DataError(f"{folder} has no head of a task", hint="fine-tune it first: kd-deploy finetune")
    return write_bundle(
        output,
        load_model(folder),
        labels=labels,
        max_length=max_length,
        tokenizer_from=folder,
        lineage=Lineage(teacher=name, versions=installed_versions()),
        outcome=Outcome(metrics={}),
    )


def require_same_kind(folder: Path, labels: LabelSpace, *, rows: str) -> None:
    """Refuse a teacher of one class a text for rows with several, and the other way round.

    Raises:
        DataError: Naming both kinds.
    """
    learned = labels_of(folder)
    if learned is not None and learned.is_multi != labels.is_multi:
        kinds = {True: "any number of classes", False: "one class"}
        raise DataError(
            f"the teacher gives {kinds[learned.is_multi]} a text, and {rows} has {kinds[labels.is_multi]}",
            hint="name the column label for one class, labels for several; or add teacher.finetune",
        )
