"""The command line: one file per command, and the one place where an error becomes a message and an exit code."""

import codecs
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from kd_deploy import __version__
from kd_deploy.cli import (
    benchmark,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    finetune,
    init,
    inspect,
    predict,
    report,
    run,
)
from kd_deploy.cli.output import hush_libraries
from kd_deploy.errors import KDDeployError, UsageError, missing_extra

INTERRUPTED = 130
CLOSED_PIPE = 141  # what a shell says of a program that the signal ended

app = typer.Typer(
    name="kd-deploy",
    help="Distil a large text model into a compact one, export it to ONNX, and prove what it costs and saves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; every fault of the user's becomes one sentence, a hint and an exit code."""
    try:
        app(args=argv)
    except KDDeployError as error:
        _fail(str(error), error.hint, error.exit_code)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _fail(str(missing), missing.hint, missing.exit_code)


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    # Typer would turn Ctrl-C into exit code 1.
    @functools.wraps(command)
    def guarded(*args: object, **options: object) -> None:
        hush_libraries()
        _speak_utf8()
        try:
            command(*args, **options)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _fail("interrupted", "the same command goes on where it can", INTERRUPTED)
        except BrokenPipeError:  # whoever reads has seen enough
            _drop_what_cannot_be_written()
            sys.exit(CLOSED_PIPE)
        except OSError as error:
            _drop_what_cannot_be_written()
            place = f"{error.filename}: " if error.filename else ""
            hint = "free some space, or choose another place" if error.errno == errno.ENOSPC else ""
            _fail(f"{place}{error.strerror or error}", hint, UsageError.exit_code)

    return guarded


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale says, as stdin is read: answers hold any character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


def _drop_what_cannot_be_written() -> None:
    """Let go of what stdout still holds where it takes no more: Python would try again when it ends, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, hint: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    sys.exit(code)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for module in (init, demo, run, finetune, distill, export, evaluate, benchmark, report, predict, inspect, doctor):
    app.command(name=module.__name__.rsplit(".", 1)[-1])(_interruptible(module.command))
