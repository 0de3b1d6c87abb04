"""How commands speak: results on stdout, what happens meanwhile on stderr, one JSON line when asked."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from kd_deploy.errors import KDDeployWarning, UsageError
from kd_deploy.files import is_main_process
from kd_deploy.progress import reporting_to

T = TypeVar("T")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line on stdout instead of the table.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a key of the recipe; repeatable.")
]
Columns = Annotated[str | None, typer.Option("--columns", help="Where the file has other names: text=mail,label=kind.")]
TaskName = Annotated[str, typer.Option("--task", help="Which task of a model that has several; inspect lists them.")]
NARROW = 100
BETWEEN = 3  # columns of a table
SECONDS_BETWEEN_LINES = 60.0


def columns_of(given: str | None) -> dict[str, str]:
    """The task's column names and what the file calls them.

    Raises:
        UsageError: Something other than pairs of names.
    """
    pairs = [part.strip().partition("=") for part in (given or "").split(",") if part.strip()]
    if not all(task and equals and name for task, equals, name in pairs):
        raise UsageError(f"--columns {given!r} is not a list of names", hint="write --columns text=mail,label=kind")
    return {task: name for task, _, name in pairs}


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says what long work does, on stderr: a bar where stderr is a terminal, elsewhere a line from time to time."""

    def say(self, message: str) -> None:
        """One line."""
        typer.echo(message, err=True)

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yield the items under a bar, or with a line a minute."""
        if not sys.stderr.isatty():
            yield from self._told(items, description, total)
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import track

        yield from track(items, escape(description), total=total, console=Console(stderr=True), transient=True)

    def _told(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        begun = said = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if done and now - said >= SECONDS_BETWEEN_LINES:
                left = (now - begun) / done * (total - done)
                self.say(f"{description}: {done} of {total}, about {math.ceil(left / 60)} min left")
                said = now
            yield item


@contextlib.contextmanager
def speaking(*, quiet: bool) -> Iterator[None]:
    """Let long work say what it does, unless asked to be quiet."""
    with reporting_to(Speaker()) if not quiet and is_main_process() else contextlib.nullcontext():
        yield


def emit(value: dict[str, Any], *, as_json: bool, lines: Sequence[str] = ()) -> None:
    """The result of a command: one JSON line, or plain lines; of several processes, the first speaks."""
    if not is_main_process():
        return
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False))
        return
    for line in lines:
        typer.echo(line)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; as wide as it needs to be where stdout is no terminal."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for position, name in enumerate(columns):
        made.add_column(escape(name), justify="left" if position == 0 else "right", no_wrap=position == 0)
    for row in rows:
        made.add_row(*map(escape, row))
    needed = sum(max(map(cell_len, cells)) + BETWEEN for cells in zip(columns, *rows, strict=True))
    console = Console() if sys.stdout.isatty() else Console(width=max(NARROW, needed))
    console.print(made)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One of our own, as a line of its own."""
    typer.echo(f"warning: {message}", err=True)


def hush_libraries() -> None:
    """Keep other packages' chatter out of both streams; called before any of them is imported."""
    # Set only where the user did not choose; read when transformers and its kin are first imported.
    import logging
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", category=KDDeployWarning)
    warnings.showwarning = _show_warning
