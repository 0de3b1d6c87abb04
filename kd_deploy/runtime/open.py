"""The factories that other processes call to open a model."""

import json
from pathlib import Path
from typing import Any

from kd_deploy.bundle import DECODER, ENCODER, MANIFEST, WHOLE, Bundle, data_beside
from kd_deploy.errors import BundleError
from kd_deploy.runtime.generation.graphs import open_decoder
from kd_deploy.runtime.loading import GENERATION, heads_of, load, over_decoder, positions_in
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.configs import labels_in, marks_in, task_in
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.heads import MAIN, lay_out
from kd_deploy.tasks.registry import TASKS, writes


def open_bundle(bundle: str, precision: str, provider: str, threads: int) -> Predictor:
    """A predictor over one precision of a bundle."""
    return load(bundle, precision=precision, provider=provider, threads=threads)


def open_onnx(graph: str, max_length: int, provider: str, threads: int | None) -> Predictor:
    """A predictor over an .onnx model whose tokenizer.json and config.json lie beside it or one folder up.

    Raises:
        BundleError: The tokenizer or the config is missing, or the config names no head or no pad token.
    """
    path = Path(graph)
    config_path, tokenizer = _beside(path, "config.json"), _beside(path, "tokenizer.json")
    config = _config(config_path)
    pad_id = config.get("pad_token_id")
    if (config_path.parent / MANIFEST).is_file():
        heads = heads_of(Bundle.open(config_path.parent))
    else:
        task = task_in(config)
        labels = labels_in(config, task) if task else None
        if labels is None:
            raise BundleError(f"{config_path} names no head of a task", hint="export the checkpoint with kd-deploy")
        heads = lay_out(labels, {})
        if TASKS[labels.task].NAMES is None and not config.get("id2label"):
            raise BundleError(f"{config_path} lacks id2label", hint="export the checkpoint with kd-deploy")
    if not isinstance(pad_id, int):
        raise BundleError(f"{config_path} lacks pad_token_id", hint="export the checkpoint with kd-deploy")
    room = positions_in(config)
    marks = marks_in(config, _config(beside) if (beside := config_path.with_name(GENERATION)).is_file() else {})
    encoder = Encoder.from_file(tokenizer, max_length=min(max_length, room or max_length), pad_id=pad_id, marks=marks)
    if writes(heads[MAIN].labels):
        decoder = open_decoder(_parts(path), encoder=encoder, provider=provider, threads=threads, room=room)
        return over_decoder(decoder, encoder, heads[MAIN].labels, settings=None, via="onnxruntime")
    runner = OrtRunner(path, provider=provider, threads=threads)
    return Predictor(runner, encoder, heads[MAIN].labels, via="onnxruntime", heads=heads)


def _parts(path: Path) -> dict[str, Path]:
    """The graphs of a model that writes, by one of them: the other of a pair has the same precision in its name."""
    for own, other in ((ENCODER, DECODER), (DECODER, ENCODER)):
        if path.name.startswith(own):
            return {own: path, other: path.with_name(path.name.replace(own, other))}
    return {WHOLE: path}


def files_of(graph: Path) -> list[Path]:
    """What a program needs on disk to answer with an .onnx model: its graphs, their weights, its tokenizer."""
    files = [one for part in _parts(graph).values() for one in (part, data_beside(part))]
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
    beside = (folder / name for folder in (graph.parent, graph.parent.parent))
    return [one for one in beside if one.is_file()]
