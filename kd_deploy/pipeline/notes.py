"""What a reader of a report must know besides its figures."""

from kd_deploy.bundle import Bundle
from kd_deploy.manifest import told
from kd_deploy.tasks.registry import TASKS, is_plain, names_tokens
from kd_deploy.tasks.splits import Splits, text_of
from kd_deploy.tasks.task import Examples

FEW_ROWS = 100
OTHER_TOKENS = (
    "Teacher and student cut texts into other tokens: what is counted by tokens cannot be held against each other, and "
    "bits_per_character can."
)
WORDLESS = "The teacher fills in words of a text and writes none by itself: there are no figures of it to compare with."


def notes(splits: Splits, *, teacher: Bundle | None, student: Bundle) -> tuple[str, ...]:
    """What to say of the rows and the models of a run.

    Args:
        splits: The rows of the main task.
        teacher: Of the main task; None for one on a server.
        student: As it was trained.
    """
    rows, _ = judged(splits)
    found = []
    if splits.test is None:
        found.append("There was no test split: quality is on validation, by which the best epoch was chosen too.")
    if min(len(rows), len(splits.validation)) < FEW_ROWS:
        found.append(
            f"Few rows: {len(splits.validation)} for validation, {len(rows)} for this report. "
            "One row more or less right moves every figure; look at the intervals."
        )
    known = {text_of(one, task=splits.labels.task) for one in splits.train.inputs}
    again = sum(text_of(one, task=splits.labels.task) in known for one in rows.inputs)
    if again:
        found.append(f"{again} of the {len(rows)} texts of this report stand in the training texts too.")
    manifest = student.manifest
    if teacher and teacher.manifest.task != manifest.task:
        found.append(WORDLESS)
    elif teacher and not teacher.manifest.graphs:
        found.append("The teacher could not be exported to ONNX: what it would be in int8 is not known.")
    elif teacher and names_tokens(splits.labels) and _tokenizer(teacher) != _tokenizer(student):
        found.append(OTHER_TOKENS)
    found += told(manifest.training, plain=is_plain(TASKS[manifest.task]))
    further = (f"Task {name}: {one}" for name, task in manifest.tasks.items() for one in told(task.training))
    return (*found, *further)


def _tokenizer(bundle: Bundle) -> str:
    return bundle.manifest.files["tokenizer.json"].sha256


def judged(splits: Splits) -> tuple[Examples, str]:
    """The rows that a report is about, and which split they are."""
    return (splits.test, "test") if splits.test else (splits.validation, "validation")
