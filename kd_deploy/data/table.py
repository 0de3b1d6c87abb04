"""Rows as they lay in a file: named columns, and where each row stood."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns a task asked for, under the task's names; all of one length."""

    source: str
    columns: dict[str, Sequence[object]]
    places: Sequence[int]
    unit: str
    sha256: str
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def place(self, row: int) -> str:
        """Where a row stood, as an error names it: `data.csv line 12`."""
        return f"{self.source} {self.unit} {self.places[row]}"
