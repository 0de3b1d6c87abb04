"""report.md: the same tables as the page, for a terminal, a pull request or a model card."""

import re
from collections.abc import Iterator

from kd_deploy.report.headline import headline_text
from kd_deploy.report.model import Report
from kd_deploy.report.prose import reading, records
from kd_deploy.report.table import Table
from kd_deploy.report.tables import gates_table, summary_table, tables

SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~])")
BREAKS = re.compile(r"\s+")


def to_markdown(report: Report) -> str:
    """The text of report.md. Names and notes come from files of others: nothing in them is markup."""
    return "\n".join(_lines(report)) + "\n"


def escape(text: str) -> str:
    """Text that markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", BREAKS.sub(" ", text))


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.task)}: teacher against student"
    yield f"\n**{escape(headline_text(report))}**"
    yield f"\nMeasured on {escape(report.created)}" + (f" by {escape(report.command)}" if report.command else "")
    if report.notes:
        yield "\n## Notes\n"
        yield from (f"- {escape(note)}" for note in report.notes)
    for table in (gates_table(report), summary_table(report), *tables(report)):
        if table.rows:
            yield from _grid(table)
    for title, facts in records(report):
        yield f"\n## {title}\n"
        yield from (f"- {escape(name)}: {escape(cell.text)}" for name, cell in facts)
    yield "\n## How to read it\n"
    yield from (f"- {escape(line)}" for line in reading(report))


def _grid(table: Table) -> Iterator[str]:
    yield f"\n## {escape(table.title)}\n"
    yield "| " + " | ".join(map(escape, table.columns)) + " |"
    yield "|" + "|".join("---:" if numeric else "---" for numeric in table.numeric) + "|"
    for row in table.rows:
        yield "| " + " | ".join(escape(cell.text) for cell in row) + " |"
