"""The tokenizer of a student: its teacher's, or the part of it that the training texts use."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from kd_deploy import progress
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.tokenizer_files import pad_id_of, tokenizer_file
from kd_deploy.distill.vocabulary import Coverage, Vocabulary, coverage, prune_vocabulary
from kd_deploy.tasks.encoding import TextInput, open_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizing:
    """A folder with the student's tokenizer, and what became of the vocabulary; None: it is whole.

    `kept` are the old ids that stay, [K], ascending. `coverage` is that of the texts by which they were chosen, `new`
    that of validation. `own` says that it never was the teacher's tokenizer.
    """

    folder: Path
    kept: NDArray[np.int64] | None = None
    coverage: Coverage | None = None
    new: Coverage | None = None
    own: bool = False

    @property
    def same_tokens(self) -> bool:
        """Whether the training texts fall into the tokens that the teacher sees."""
        return not self.own and (self.coverage is None or self.coverage.unchanged_texts == self.coverage.texts)

    @property
    def shared(self) -> bool:
        """Whether both models read the same ids."""
        return not self.own and self.kept is None


def seen_from(tokens: Tokenizing, teacher: Path, *, checkpoint: Path) -> Tokenizing:
    """A student's tokenizer beside a teacher, which may cut texts into other tokens.

    Args:
        tokens: The student's.
        teacher: The teacher's folder.
        checkpoint: The folder that the student starts from.
    """
    return replace(tokens, own=_plain(teacher) != _plain(checkpoint))


def tokenizing(
    vocabulary: int | Literal["full", "auto"],
    *,
    checkpoint: Path,
    texts: Sequence[TextInput],
    validation: Sequence[TextInput],
    work: Path,
) -> Tokenizing:
    """The student's tokenizer, in the folder that it starts from or in one of its own.

    Args:
        vocabulary: Entries to keep, `auto` for those that the texts use, `full` for all.
        checkpoint: The folder that the student starts from: its teacher's, or a checkpoint of its own.
        texts: What the student is trained on.
        validation: Texts that choose nothing: what they lose is what later texts will.
        work: Where a smaller tokenizer goes; what was there is replaced.

    Raises:
        RecipeError: The tokenizer cannot be pruned, or not to this size.
    """
    if vocabulary == "full":
        return Tokenizing(folder=checkpoint)
    size = None if vocabulary == "auto" else vocabulary
    pad = pad_id_of(checkpoint)
    pruned = prune_vocabulary(tokenizer_file(checkpoint), texts, size=size, pad=pad if pad >= 0 else None)
    _write(pruned, checkpoint, work)
    before, after = (open_tokenizer(tokenizer_file(folder)) for folder in (checkpoint, work))
    found, new = pruned.coverage, coverage(before, after, texts=validation, kept=pruned.kept)
    progress.say(
        f"vocabulary: {found.entries_after} of {found.entries_before} entries, {found.unchanged_share:.1%} of the "
        f"training texts and {new.unchanged_share:.1%} of validation as before, {new.growth:+.1%} tokens there"
    )
    if pruned.used < found.entries_after:
        progress.say(
            f"vocabulary: the training texts use {pruned.used} of these entries; auto keeps no others, and more texts "
            "in data.unlabeled use more"
        )
    return Tokenizing(folder=work, kept=pruned.kept, coverage=found, new=new)


def _plain(checkpoint: Path) -> str:
    """A tokenizer as text, without the limits that whoever saved it happened to set."""
    tokenizer = open_tokenizer(tokenizer_file(checkpoint))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str())


def _write(pruned: Vocabulary, checkpoint: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "tokenizer.json").write_text(json.dumps(pruned.document, ensure_ascii=False), encoding="utf-8")
    settings = checkpoint / "tokenizer_config.json"
    if settings.is_file():
        shutil.copyfile(settings, work / settings.name)
    pad = int(np.searchsorted(pruned.kept, pad_id_of(checkpoint)))
    config = check_checkpoint(checkpoint) | {"pad_token_id": pad, "vocab_size": len(pruned.kept)}
    (work / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({}, work / "model.safetensors")  # a folder without weights is no checkpoint
