"""`kd-deploy predict`: one JSON line per input, in order."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from kd_deploy.cli.output import Quiet, TaskName
from kd_deploy.errors import DataError

if TYPE_CHECKING:
    from kd_deploy.tasks.encoding import TextInput
    from kd_deploy.tasks.text_classification import Classification


def command(
    bundle: Annotated[str, typer.Argument(help="The bundle.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts. None: lines, or JSON Lines, from stdin.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or int8; left out: int8 where the bundle has it.")] = None,
    task: TaskName = "main",
    provider: Annotated[str, typer.Option(help="cpu, cuda, or another that onnxruntime has here.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Threads of one run; left out: the cores we may use.", min=1)
    ] = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="The output is JSON Lines with or without it.")] = False,
) -> None:
    """Answer texts: one JSON line per input, in their order."""
    from kd_deploy.pipeline.targets import bundle_form
    from kd_deploy.runtime.predictor import load

    path, form = bundle_form(bundle, precision)
    with load(path, precision=form, provider=provider, threads=threads, task=task) as predictor:
        inputs = texts or read_lines(sys.stdin.buffer)
        for one in predictor.stream(inputs):
            sys.stdout.write(json.dumps(to_json(one, multi=predictor.labels.is_multi), ensure_ascii=False) + "\n")
            sys.stdout.flush()


def read_lines(stream: BinaryIO) -> "Iterator[TextInput]":
    """An input from every line, empty ones too: a JSON object with `text` (and `text_pair`), or plain text.

    Raises:
        DataError: A line that is not UTF-8, or that starts with a brace and is no object with a text.
    """
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"stdin line {number} is not UTF-8", hint="convert it first") from error
        yield _object(text, number) if text.lstrip().startswith("{") else text


def _object(line: str, number: int) -> "TextInput":
    hint = 'write {"text": "..."}, or with "text_pair"; a text that starts with a brace goes in that form too'
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"stdin line {number} starts with a brace and is not JSON", hint=hint) from error
    text, pair = value.get("text"), value.get("text_pair")
    if not isinstance(text, str) or not isinstance(pair, str | None):
        keys = ", ".join(value) or "none"
        raise DataError(f"stdin line {number} has no text that is a string; its keys: {keys}", hint=hint)
    return text if pair is None else (text, pair)


def to_json(one: "Classification", *, multi: bool) -> dict[str, object]:
    """An answer as its JSON line."""
    scores = {name: round(value, 6) for name, value in one.scores.items()}
    if multi:
        return {"labels": list(one.labels), "scores": scores}
    return {"label": one.label, "score": round(one.score, 6), "scores": scores}
