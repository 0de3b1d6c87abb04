"""How a long training stands: the student's weights and what goes with them, for a later start to go on from."""

from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import nn

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.files import staged

WEIGHTS, RECORD = "model.safetensors", "record.json"


def keep(folder: Path, student: nn.Module, record: str) -> None:
    """Write the weights and a JSON text, whole or not at all; of several processes, the first one does."""
    if processes.is_first():
        with staged(folder) as aside:
            save_model(student, str(aside / WEIGHTS))
            (aside / RECORD).write_text(record, encoding="utf-8")
    processes.wait()


def take_up(folder: Path, student: nn.Module) -> str | None:
    """Give the student the weights that were kept; the JSON text beside them, or None: nothing was."""
    if not (folder / RECORD).is_file():
        return None
    load_model(student, folder / WEIGHTS)
    progress.say(f"going on after {folder.name}")
    return (folder / RECORD).read_text(encoding="utf-8")
