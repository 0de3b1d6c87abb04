"""Where two vocabularies part: models that say tokens can teach each other only where an id means the same to both."""

from pathlib import Path

from kd_deploy.distill.tokenizer_files import tokenizer_file
from kd_deploy.tasks.encoding import open_tokenizer


def parting(left: Path, right: Path) -> str | None:
    """How the vocabularies of two checkpoints differ, as the end of a sentence; None: not at all."""
    ours, theirs = (_entries(folder) for folder in (left, right))
    if ours == theirs:
        return None
    sizes = f"{len(ours)} entries against {len(theirs)}"
    first = min((id_ for token, id_ in ours.items() if theirs.get(token) != id_), default=None)
    if first is None:
        return f"{sizes}, of which the first {len(ours)} are the same"
    token = next(token for token, id_ in ours.items() if id_ == first)
    there = f"has the id {theirs[token]} there" if token in theirs else "is not there at all"
    return f"{sizes}, and {token!r}, with the id {first} here, {there}"


def _entries(folder: Path) -> dict[str, int]:
    return open_tokenizer(tokenizer_file(folder)).get_vocab(with_added_tokens=True)
