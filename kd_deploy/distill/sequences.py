"""What the teacher writes for every source, once: the targets of sequence-level distillation.

Kim & Rush 2016, arXiv 1606.07947. The texts are kept over runs in blocks, each written whole: a run that is broken
off goes on where it was.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.distill.opening import how_to_write
from kd_deploy.distill.precision import autocast, choose_format, usual_device
from kd_deploy.distill.signal_cache import key_of
from kd_deploy.distill.signals import cache_folder, fingerprint
from kd_deploy.distill.teachers import Teachers
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.distill.torch_runner import open_encoder
from kd_deploy.errors import RecipeError
from kd_deploy.files import sha256_text, write_text
from kd_deploy.generation import Generation
from kd_deploy.recipe import Sequences
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.registry import judged_by_what_is_written, task_of
from kd_deploy.tasks.splits import Splits

VERSION = 3  # of what is kept
BLOCK = 1024  # sources whose texts are kept together
TOKENS_AT_ONCE = 16384


def with_sequences(splits: Splits, teachers: Teachers, settings: Sequences | None, *, generation: Generation) -> Splits:
    """The rows with what the teacher writes as their targets, those without a target among them.

    Args:
        splits: Sources with targets, and without.
        teachers: The first of them writes.
        settings: Beams, and whether the targets of the data count as well; None: the rows that have a target.
        generation: How long a text may be; all else is as the teacher writes.

    Raises:
        RecipeError: None of the teacher's texts came to an end.
    """
    if settings is None:
        return replace(splits, unlabeled=()) if judged_by_what_is_written(task_of(splits.labels)) else splits
    train = splits.train
    sources = [str(one) for one in (*train.inputs, *splits.unlabeled)]
    chosen = {"beams": settings.beams, "max_new_tokens": generation.max_new_tokens, "temperature": 0.0}
    how = how_to_write(teachers.folder).model_copy(update=chosen)
    with processes.first_ahead():
        texts = written(teachers, sources, how, folder=cache_folder() / "sequences")
    kept = [(source, text) for source, text in zip(sources, texts, strict=True) if text is not None and text.strip()]
    progress.say(f"the teacher wrote targets for {len(kept)} of {len(sources)} sources{_cut(texts)}")
    if not kept:
        raise RecipeError(
            f"none of the teacher's texts is a target{_cut(texts)}",
            hint="raise generation.max_new_tokens, and data.max_length with it",
        )
    pairs = [*kept, *(zip(train.inputs, train.targets, strict=True) if settings.targets == "both" else ())]
    inputs, targets = (tuple(part) for part in zip(*pairs, strict=True))
    return replace(splits, train=replace(train, inputs=inputs, targets=targets), unlabeled=())


def _cut(texts: Sequence[str | None]) -> str:
    count = texts.count(None)
    if not count:
        return ""
    return f"; {count} did not end within generation.max_new_tokens and data.max_length and are left out"


def written(teachers: Teachers, sources: Sequence[str], how: Generation, *, folder: Path) -> list[str | None]:
    """What the teacher writes for each source, from the folder where it has written it before.

    None where it was not at the end when it had to stop, or is longer than a target may be: a student would learn to
    stop there.
    """
    number_format = choose_format("auto", teachers.model)
    print_of = fingerprint(teachers.folder, max_length=teachers.max_length, number_format=number_format)
    place = folder / sha256_text(json.dumps([VERSION, print_of, how.model_dump()]))[:32]
    texts = _kept(place)
    keys = {source: key_of(source).hex() for source in sources}
    missing = [source for source, key in keys.items() if key not in texts]
    encoder = open_encoder(teachers.folder, max_length=teachers.max_length)
    device = usual_device()
    decoder = torch_decoder(teachers.model, encoder, device=str(device))
    writer = Writer(decoder, encoder, how, token_budget=TOKENS_AT_ONCE)
    blocks = [missing[start : start + BLOCK] for start in range(0, len(missing), BLOCK)]
    for block in progress.track(blocks, "the teacher writes", total=len(blocks)):
        with autocast(number_format, device):
            found = writer.write(block)
        whole = (one.text if one.ended and _fits(one.text, encoder) else None for one in found)
        new = {keys[source]: text for source, text in zip(block, whole, strict=True)}
        write_text(place / f"{sha256_text(json.dumps(block))[:16]}.json", json.dumps(new, ensure_ascii=False))
        texts |= new
    return [texts[keys[source]] for source in sources]


def _fits(text: str, encoder: Encoder) -> bool:
    return len(encoder.uncut.encode(text).ids) <= encoder.max_length


def _kept(place: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in _files(place):
        try:
            found |= json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            progress.say(f"{path} is damaged and is left aside")
    return found


def _files(place: Path) -> Iterable[Path]:
    return sorted(place.glob("*.json"))
