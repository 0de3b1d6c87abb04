"""A bundle on disk to a predictor: its graphs, its tokenizer, its tasks, its way to write."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_deploy.bundle import MANIFEST, WHOLE, Bundle
from kd_deploy.errors import BundleError, KDDeployWarning
from kd_deploy.generation import Generation
from kd_deploy.machine import this_machine
from kd_deploy.runtime.generation.first_token import FirstToken
from kd_deploy.runtime.generation.graphs import CausalGraph, open_decoder
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.configs import marks_in
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.heads import MAIN, Head, find_head, lay_out
from kd_deploy.tasks.registry import writes
from kd_deploy.tasks.task import LabelSpace
from kd_deploy.tasks.writing import Decoder

GENERATION = "generation_config.json"
POSITIONS_AFTER_PAD = ("roberta", "camembert", "mpnet")  # these families count positions from pad + 1


def load(
    bundle: Bundle | Path | str,
    *,
    precision: str | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    task: str = MAIN,
) -> Predictor:
    """A predictor over a bundle on disk; the hash of every file that it reads is compared first.

    Args:
        bundle: The bundle, or its folder.
        precision: fp32, int8 or int4. None: int8 where the bundle has it, else int4, else fp32.
        provider: An execution provider; one that is missing is an error, never a silent run on the CPU.
        threads: Threads of one run. None: the cores that this process may use.
        task: Which of its tasks to answer.

    Raises:
        BundleError: The bundle is damaged, was changed, or lacks the precision.
        BenchmarkError: The provider is missing.
        UsageError: The bundle has no such task.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    chosen = precision or opened.usual_precision or "fp32"
    _warn_of_saturation(opened, chosen)
    heads = heads_of(opened)
    find_head(heads, task)  # before the graph is opened
    graphs, labels, encoder = opened.graphs(chosen), label_space(opened), open_encoder(opened)
    if writes(labels):
        decoder = open_decoder(graphs, encoder=encoder, provider=provider, threads=threads, room=room_of(opened))
        return over_decoder(decoder, encoder, labels, settings=opened.manifest.generation, via="kd_deploy.runtime")
    runner = OrtRunner(graphs[WHOLE], provider=provider, threads=threads)
    return Predictor(runner, encoder, labels, via="kd_deploy.runtime", heads=heads).task(task)


def _warn_of_saturation(bundle: Bundle, precision: str) -> None:
    record = bundle.manifest.graphs.get(precision)
    if record is None or record.reduce_range or not record.quantized_operators or this_machine().has_vnni:
        return
    warnings.warn(
        f"{bundle.path}: {precision} was made on a processor with VNNI, and this one has none: sums of products may "
        "saturate and answers differ; export it again here, or take fp32",
        KDDeployWarning,
        stacklevel=3,
    )


def open_encoder(bundle: Bundle) -> Encoder:
    """The encoder of a bundle: its tokenizer, its length limit, its way to pad."""
    config = _read(bundle, "config.json")
    generation = _read(bundle, GENERATION) if GENERATION in bundle.manifest.files else {}
    pad_id, room, limit = config.get("pad_token_id"), positions_in(config), bundle.manifest.max_length
    if not isinstance(pad_id, int):
        raise BundleError(f"{bundle.path / 'config.json'} names no pad_token_id", hint="make the bundle again")
    if room is not None and limit > room:
        raise BundleError(
            f"{bundle.path / MANIFEST} says max_length {limit}, and the model has {room} positions",
            hint="make the bundle again",
        )
    return Encoder.from_file(
        bundle.file("tokenizer.json"),
        max_length=limit,
        pad_id=pad_id,
        padding_side=bundle.manifest.padding_side,
        marks=marks_in(config, generation),
    )


def over_decoder(
    decoder: Decoder, encoder: Encoder, labels: LabelSpace, *, settings: Generation | None, via: str
) -> Predictor:
    """A predictor over the graphs of a model that writes, as `settings` say or greedily."""
    writer = Writer(decoder, encoder, settings or Generation())
    runner = decoder if isinstance(decoder, CausalGraph) else FirstToken(decoder)  # one that reads whole texts too
    return Predictor(runner, encoder, labels, via=via, writer=writer)


def room_of(bundle: Bundle) -> int | None:
    """Tokens that a model which writes has positions for; None: its config names none."""
    return positions_in(_read(bundle, "config.json"))


def positions_in(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model of this config has positions for; None: any number."""
    found = (config.get(name) for name in ("max_position_embeddings", "n_positions"))
    room = next((one for one in found if isinstance(one, int) and one > 0), None)
    if room is None or not any(family in str(config.get("model_type")) for family in POSITIONS_AFTER_PAD):
        return room
    return room - int(config.get("pad_token_id") or 0) - 1


def length_in(config: Mapping[str, Any], tokenizer: Mapping[str, Any], *, limit: int) -> int:
    """Tokens that a model reads at once: as its tokenizer_config.json says and its positions allow, at most `limit`."""
    room, stated = positions_in(config) or limit, tokenizer.get("model_max_length")
    return min(limit, room, int(stated) if isinstance(stated, int | float) else limit)


def _read(bundle: Bundle, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bundle.file(name).read_text(encoding="utf-8"))
    return found


def label_space(bundle: Bundle) -> LabelSpace:
    """The classes of a bundle's main task, in the order of its logits."""
    manifest = bundle.manifest
    return LabelSpace(task=manifest.task, names=manifest.labels, problem_type=manifest.problem_type)


def heads_of(bundle: Bundle) -> dict[str, Head]:
    """All tasks of a bundle, the main one first."""
    tasks = bundle.manifest.tasks.items()
    further = {name: LabelSpace(names=one.labels, problem_type=one.problem_type) for name, one in tasks}
    return lay_out(label_space(bundle), further)
