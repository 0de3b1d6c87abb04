"""What models answered before: one that has not changed is not asked again about the same rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kd_deploy import __version__, measurement_store
from kd_deploy.errors import BenchmarkError
from kd_deploy.measurement import Prediction
from kd_deploy.pipeline.resume import fingerprint
from kd_deploy.pipeline.server import ServerTarget
from kd_deploy.pipeline.targets import Target

AnyTarget = Target | ServerTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is scored of a model's answers, and what it wrote for the samples of a report."""

    predictions: tuple[Prediction, ...]
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswers:
    """A folder of answers to the same rows, a file for each model.

    Args:
        folder: Where they are; it need not exist.
        rows: What tells these rows from all others, as JSON values.
    """

    folder: Path
    rows: object

    def place(self, target: AnyTarget) -> Path:
        """The file of a model's answers."""
        about = [target.signature(), target.name.runtime, target.name.precision, self.rows, __version__]
        return self.folder / f"{fingerprint(about)[:32]}.json"

    def of(self, target: AnyTarget) -> Answers | None:
        """The answers of a model; None where none are kept."""
        path = self.place(target)
        try:
            return measurement_store.load(path, Answers) if path.is_file() else None
        except BenchmarkError:  # damaged: they are given again
            return None

    def keep(self, target: AnyTarget, answers: Answers) -> None:
        """Write a model's answers down."""
        measurement_store.save(self.place(target), answers)


def drop_others(folder: Path, places: Iterable[Path]) -> None:
    """Remove the answers of models that are not compared any more."""
    kept = set(places)
    for path in folder.glob("*.json"):
        if path not in kept:
            path.unlink(missing_ok=True)
