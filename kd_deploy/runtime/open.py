"""The factories that other processes call to open a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd_deploy.bundle import DECODER, ENCODER, MANIFEST, WHOLE, Bundle, data_beside
from kd_deploy.errors import BundleError
from kd_deploy.files import absolute
from kd_deploy.runtime.generation.graphs import open_decoder
from kd_deploy.runtime.loading import GENERATION, heads_of, length_in, load, open_encoder, over_decoder, positions_in
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.configs import labels_in, marks_in, task_in
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.heads import MAIN, Head, lay_out
from kd_deploy.tasks.registry import TASKS, task_of, writes

TOKENIZER = "tokenizer_config.json"
OF_TEXTS, INTEGERS = ("input_ids", "attention_mask", "token_type_ids"), "tensor(int64)"


def open_bundle(bundle: str, precision: str, provider: str, threads: int) -> Predictor:
    """A predictor over one precision of a bundle."""
    return load(bundle, precision=precision, provider=provider, threads=threads)


def open_onnx(graph: str, max_length: int, provider: str, threads: int | None) -> Predictor:
    """A predictor over an .onnx model whose tokenizer.json and config.json lie beside it or one folder up.

    Where a bundle.json lies there too, the model is read as its bundle says.

    Args:
        graph: The file.
        max_length: Tokens that are read at once, where neither a bundle nor the tokenizer nor the positions say less.
        provider: An execution provider.
        threads: Threads of one run; None: the cores that this process may use.

    Raises:
        BundleError: The tokenizer or the config is missing, the config names no head or no pad token, or the graph
            takes or gives other arrays than a model of its task.
    """
    path = Path(graph)
    folder = _beside(path, "config.json").parent
    config = _config(folder / "config.json")
    if (folder / MANIFEST).is_file():
        bundle = Bundle.open(folder)
        heads, encoder, settings = heads_of(bundle), open_encoder(bundle), bundle.manifest.generation
    else:
        heads, encoder, settings = _heads(folder, config), _encoder(path, config, max_length=max_length), None
    labels = heads[MAIN].labels
    if writes(labels):
        room = positions_in(config)
        decoder = open_decoder(_parts(path), encoder=encoder, provider=provider, threads=threads, room=room)
        return over_decoder(decoder, encoder, labels, settings=settings, via="onnxruntime")
    runner = OrtRunner(path, provider=provider, threads=threads)
    _require_arrays(runner, path, outputs=task_of(labels).OUTPUTS)
    return Predictor(runner, encoder, labels, via="onnxruntime", heads=heads)


def _heads(folder: Path, config: dict[str, Any]) -> dict[str, Head]:
    """What a model without a bundle answers: one task."""
    path = folder / "config.json"
    task = task_in(config)
    labels = labels_in(config, task) if task else None
    if labels is None:
        raise BundleError(f"{path} names no head of a task", hint="export the checkpoint with kd-deploy")
    if TASKS[labels.task].NAMES is None and not config.get("id2label"):
        raise BundleError(f"{path} lacks id2label", hint="export the checkpoint with kd-deploy")
    return lay_out(labels, {})


def _encoder(graph: Path, config: dict[str, Any], *, max_length: int) -> Encoder:
    """The encoder of a model without a bundle."""
    path, tokenizer = _beside(graph, "config.json"), _beside(graph, "tokenizer.json")
    pad_id = config.get("pad_token_id")
    if not isinstance(pad_id, int):
        raise BundleError(f"{path} lacks pad_token_id", hint="export the checkpoint with kd-deploy")
    beside = {name: _config(path.with_name(name)) for name in (GENERATION, TOKENIZER) if path.with_name(name).is_file()}
    limit = length_in(config, beside.get(TOKENIZER, {}), limit=max_length)
    marks = marks_in(config, beside.get(GENERATION, {}))
    return Encoder.from_file(tokenizer, max_length=limit, pad_id=pad_id, marks=marks)


def _require_arrays(runner: OrtRunner, graph: Path, *, outputs: Sequence[str]) -> None:
    """Refuse a graph that takes what no tokenizer gives, or lacks an output of its task."""
    hint = "export the checkpoint with kd-deploy"
    for name, kind in runner.input_types.items():
        if name not in OF_TEXTS:
            raise BundleError(f"{graph} takes {name}, and texts give {', '.join(OF_TEXTS)}", hint=hint)
        if kind != INTEGERS:
            raise BundleError(f"{graph} takes {name} as {kind}, not {INTEGERS}", hint=hint)
    for name in outputs:
        if name not in runner.output_names:
            raise BundleError(f"{graph} gives {', '.join(runner.output_names)}, and no {name}", hint=hint)


def _parts(path: Path) -> dict[str, Path]:
    """The graphs of a model that writes, by one of them: the other of a pair has the same precision in its name."""
    for own, other in ((ENCODER, DECODER), (DECODER, ENCODER)):
        if path.name.startswith(own):
            return {own: path, other: path.with_name(path.name.replace(own, other))}
    return {WHOLE: path}


def files_of(graph: Path) -> list[Path]:
    """What a program needs on disk to answer with an .onnx model: its graphs, their weights, its tokenizer."""
    parts = _parts(graph).values()
    files = [one for part in parts for one in (part, data_beside(part), part.with_name(f"{part.name}.data"))]
    return [one for one in (*files, *_found_beside(graph, "tokenizer.json")[:1]) if one.is_file()]


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON", hint="export the checkpoint again") from error
    if not isinstance(config, dict):
        raise BundleError(f"{path} is not a model's config", hint="export the checkpoint again")
    return config


def _beside(graph: Path, name: str) -> Path:
    found = _found_beside(graph, name)
    if found:
        return found[0]
    raise BundleError(f"there is no {name} beside {graph}, nor one folder up", hint=f"put the model's {name} there")


def _found_beside(graph: Path, name: str) -> list[Path]:
    beside = (folder / name for folder in absolute(graph).parents[:2])
    return [one for one in beside if one.is_file()]
