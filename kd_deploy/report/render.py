"""A report on disk, in as many forms as are asked for; each one is written whole or not at all."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from kd_deploy.files import write_text
from kd_deploy.report.document import REPORT_FILE, to_json
from kd_deploy.report.html import to_html
from kd_deploy.report.markdown import to_markdown
from kd_deploy.report.model import Report

Format = Literal["html", "md", "json"]
WRITERS: dict[Format, tuple[str, Callable[[Report], str]]] = {
    "html": ("report.html", to_html),
    "md": ("report.md", to_markdown),
    "json": (REPORT_FILE, to_json),
}


def write_report(
    report: Report,
    folder: Path,
    *,
    formats: Sequence[Format] = ("html", "md", "json"),
    keep: Collection[Path] = (),
) -> tuple[Path, ...]:
    """Write the report into a folder; the paths of its files, in the order of `formats`.

    An earlier report there in another form is removed, unless it is one of `keep`: it would say something else.

    All forms are made before the first is written: a missing package leaves nothing half done.

    Raises:
        MissingExtraError: html is asked for without jinja2 or matplotlib.
        UsageError: The folder cannot be written.
    """
    texts = {folder / name: make(report) for name, make in (WRITERS[one] for one in formats)}
    for path, text in texts.items():
        write_text(path, text)
    kept = {path.resolve() for path in keep}
    for name, _ in WRITERS.values():
        stale = folder / name
        if stale not in texts and stale.resolve() not in kept:
            stale.unlink(missing_ok=True)
    return tuple(texts)
