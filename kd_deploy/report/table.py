"""A table of the report before it is drawn."""

from dataclasses import dataclass

from kd_deploy.report.cells import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A titled grid; every row has as many cells as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For every column, whether it holds figures and belongs to the right."""
        return tuple(any(row[place].is_number for row in self.rows) for place in range(len(self.columns)))
