"""`kd-deploy predict`: one JSON line per input, in order."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from kd_deploy.cli.output import Quiet, TaskName
from kd_deploy.errors import DataError, UsageError

if TYPE_CHECKING:
    from kd_deploy.generation import Generation
    from kd_deploy.tasks.encoding import TextInput
    from kd_deploy.tasks.task import Task

PAIR = "text_pair"


def command(
    bundle: Annotated[str, typer.Argument(help="The bundle.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts. None: lines, or JSON Lines, from stdin.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, int8 or int4; left out: int8, else int4, else fp32.")
    ] = None,
    task: TaskName = "main",
    provider: Annotated[str, typer.Option(help="cpu, cuda, or another that onnxruntime has here.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Threads of one run; left out: the cores we may use.", min=1)
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a model that writes: tokens at most.")] = None,
    beams: Annotated[int | None, typer.Option(help="Texts followed side by side; 1: greedy.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0: the likeliest token; above: by chance.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Chance among so many likeliest tokens; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Chance among those that share this probability.")] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: what is there becomes less likely.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the chance.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text after which writing ends; repeatable.")] = None,
    no_answer: Annotated[
        float | None,
        typer.Option(help="Of questions: the probability of no answer above which none is given; 0.5.", min=0, max=1),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show each answer as it is written, as plain text.")] = False,
    quiet: Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The output is JSON Lines with or without it; with --stream, a piece a line.")
    ] = False,
) -> None:
    """Answer texts: one JSON line per input, in their order."""
    from kd_deploy.pipeline.targets import bundle_form
    from kd_deploy.runtime.loading import load
    from kd_deploy.tasks.registry import task_of, writes

    path, form = bundle_form(bundle, precision)
    with load(path, precision=form, provider=provider, threads=threads, task=task) as predictor:
        kind = task_of(predictor.labels)
        if no_answer is not None and kind.NAME != "question-answering":
            raise UsageError(f"--no-answer is for question-answering, not for {kind.NAME}", hint="leave it out")
        how = {
            "max_new_tokens": max_new_tokens,
            "beams": beams,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
            "stop": stop,
        }
        asked = {name: value for name, value in how.items() if value is not None}
        if asked:
            predictor.writer.settings = changed(predictor.writer.settings, asked).checked()
        inputs = given(texts, kind) if texts else read_lines(own_stdin(), kind)
        if writes(predictor.labels):
            inputs = checked(inputs, predictor.writer.check, arguments=bool(texts))
        if stream:
            for number, one in enumerate(inputs):
                show_pieces(predictor.writer.stream(one, place=number), number, as_json=as_json)
            return
        for one in predictor.stream(inputs):
            answer = one if no_answer is None else one.at(no_answer)
            sys.stdout.write(json.dumps(predictor.to_json(answer), ensure_ascii=False) + "\n")
            sys.stdout.flush()


def changed(settings: "Generation", asked: "Mapping[str, object]") -> "Generation":
    """The bundle's way to write with what was asked for on the command line.

    Raises:
        UsageError: A value that no text can be written by.
    """
    from pydantic import ValidationError

    from kd_deploy.generation import Generation
    from kd_deploy.recipe.faults import sentence

    try:
        return Generation.model_validate({**settings.model_dump(), **asked})
    except ValidationError as error:
        fault = error.errors()[0]
        option = f"--{str(fault['loc'][0]).replace('_', '-')}"
        raise UsageError(f"{option} {sentence(fault)}", hint="kd-deploy predict --help") from error


def checked(
    inputs: "Iterable[TextInput]", check: "Callable[[TextInput], None]", *, arguments: bool
) -> "Iterator[TextInput]":
    """The inputs, each one once it is known that it can be answered.

    Raises:
        UsageError: One of the arguments cannot; its number, from 1, is named.
        DataError: A line of stdin cannot.
    """
    for number, one in enumerate(inputs, start=1):
        try:
            check(one)
        except UsageError as error:
            if arguments:
                raise UsageError(f"text {number}: {error}", hint=error.hint) from error
            raise DataError(f"stdin line {number}: {error}", hint=error.hint) from error
        yield one


def show_pieces(pieces: "Iterator[str]", number: int, *, as_json: bool) -> None:
    """Write an answer to stdout as it comes: plain, with a line break at its end; or as JSON, a piece a line."""
    for piece in pieces:
        sys.stdout.write(json.dumps({"input": number, "text": piece}, ensure_ascii=False) + "\n" if as_json else piece)
        sys.stdout.flush()
    if not as_json:
        sys.stdout.write("\n")
        sys.stdout.flush()


def given(texts: list[str], task: "Task") -> "list[TextInput]":
    """The inputs that the arguments are: each one, or two by two where a task reads pairs.

    Raises:
        UsageError: One that has no second.
    """
    from kd_deploy.tasks.encoding import utf8

    names, texts = input_names(task), [utf8(text) for text in texts]
    if len(names) == 1:
        return list(texts)
    if len(texts) % 2:
        raise UsageError(
            f"{task.NAME} reads pairs, and the number of texts given is {len(texts)}",
            hint=f"give a {names[0]} and a {names[1]} each",
        )
    return list(zip(texts[::2], texts[1::2], strict=True))


def own_stdin() -> BinaryIO:
    """Stdin through a buffer of our own.

    A thread waits in it for the next line. Python closes sys.stdin when it ends, and aborts where a thread is
    inside.

    Raises:
        UsageError: There is none.
    """
    if sys.stdin is None:
        raise UsageError("there are no texts, and stdin is closed", hint="give texts as arguments, or on stdin")
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # a stream without a file behind it
        return sys.stdin.buffer


def read_lines(stream: BinaryIO, task: "Task") -> "Iterator[TextInput]":
    """An input from every line: a JSON object with the columns of the task, or a plain text, an empty one too.

    Blank lines among objects, or where a task reads pairs, are none, as in a file of rows.

    Raises:
        DataError: A line that is not UTF-8, that starts with a brace and is no object with a text, or that is a
            plain text where the task reads pairs.
    """
    names = input_names(task)
    skipping = len(names) > 1
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"stdin line {number} is not UTF-8", hint="convert it first") from error
        if text.lstrip().startswith("{"):
            skipping = True
            yield _object(text, number, task)
        elif skipping and not text.strip():
            continue
        elif len(names) == 1:
            yield text
        else:
            hint = f'write {{"{names[0]}": "...", "{names[1]}": "..."}}'
            raise DataError(f"stdin line {number} is a plain text, and {task.NAME} reads pairs", hint=hint)


def input_names(task: "Task") -> tuple[str, ...]:
    """The columns that make an input, in its order."""
    return task.INPUTS or ("text",)


def _object(line: str, number: int, task: "Task") -> "TextInput":
    from kd_deploy.tasks.encoding import utf8

    names = input_names(task)
    may_pair = PAIR in task.OPTIONAL and task.ANSWERS != "vector"
    pairs = ', or with "text_pair"' if may_pair else ""
    shape = ", ".join(f'"{name}": "..."' for name in names)
    hint = f"write {{{shape}}}{pairs}; a text that starts with a brace goes in that form too"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"stdin line {number} starts with a brace and is not JSON", hint=hint) from error
    paired = value.get(PAIR) is not None and PAIR not in names
    if paired and not may_pair:
        raise DataError(f"stdin line {number} has a text_pair, and {task.NAME} reads single texts", hint=hint)
    wanted = (*names, *((PAIR,) if paired else ()))
    parts = [value.get(name) for name in wanted]
    for name, part in zip(wanted, parts, strict=True):
        if not isinstance(part, str):
            keys = ", ".join(value) or "none"
            raise DataError(f"stdin line {number} has no {name} that is a string; its keys: {keys}", hint=hint)
    texts = [utf8(part) for part in parts]
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])
