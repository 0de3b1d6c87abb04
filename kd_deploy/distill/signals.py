"""What the teacher says of the training texts: from the cache on disk, or live, alike to the loss."""

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_deploy import progress
from kd_deploy.distill.finite import require_signal
from kd_deploy.distill.observe import Signal, observe
from kd_deploy.distill.passes import passes
from kd_deploy.distill.precision import Format, autocast, choose_format, usual_device
from kd_deploy.distill.signal_cache import VARIABLE, SignalCache, blocks, key_of, name_of, place_for
from kd_deploy.distill.students.pooling import MODULES
from kd_deploy.distill.tokenizer_files import tokenizer_file
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.distill.vocabulary_head import only_at
from kd_deploy.files import sha256_file
from kd_deploy.tasks.encoding import Encoder, TextInput
from kd_deploy.tasks.task import NO_DECISION

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
VERSION = 2
LOGITS, ENTRIES = "logits", "entries"  # where entries are given, the logits are of these alone, and of the rest


def cache_folder() -> Path:
    """Where signals are kept over runs: $KD_DEPLOY_CACHE, else the user's cache folder."""
    given = os.environ.get(VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "kd-deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Teacher signals for the rows of a data set, by name: logits [C], of tokens [tokens, C]; all others [tokens, W].

    `computed` and `reused` count different texts. `answered` [N] says to which rows the teacher had an answer; None: to
    all.
    """

    rows: Mapping[str, Sequence[NDArray[np.generic]]]
    computed: int
    reused: int
    answered: NDArray[np.bool_] | None = None

    @property
    def heard(self) -> NDArray[np.bool_]:
        """To which rows the teacher had an answer, [N]."""
        return np.ones(len(self.rows[LOGITS]), dtype=bool) if self.answered is None else self.answered

    @property
    def logits(self) -> NDArray[np.float32]:
        """The logits of all rows, [N, C], where one thing is decided about each."""
        return np.stack([np.asarray(row, dtype=np.float32) for row in self.rows[LOGITS]])

    def of(self, row: int) -> dict[str, NDArray[np.generic]]:
        """All signals of one row."""
        return {name: values[row] for name, values in self.rows.items()}


class LiveTeacher:
    """A teacher that answers while the student trains, where its signals are too large to be kept."""

    def __init__(self, model: nn.Module, names: Collection[str], *, chosen: Format, narrow: bool = False) -> None:
        """Take a model and what it is to show.

        Args:
            model: The teacher.
            names: Which signals, as `observe` calls them.
            chosen: The number format of its passes.
            narrow: Whether its logits are wanted at the tokens that are decided alone, [1, N, V].
        """
        self._narrow = narrow
        self._model = model.eval()
        self._names = tuple(names)
        self._chosen = chosen

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the arrays that it takes."""
        return input_names(self._model)

    @torch.no_grad()
    def signal(self, arrays: Mapping[str, Tensor]) -> Signal:
        """What it says of a batch [B, S], rounded as the cache rounds; `targets` say which tokens are decided."""
        device = next(iter(arrays.values())).device
        model = self._model.to(device)
        inputs = {name: arrays[name] for name in input_names(model)}
        kept = arrays["targets"] != NO_DECISION if self._narrow else None
        with autocast(self._chosen, device), only_at(model, kept):
            shown = observe(model, inputs, names=self._names)
        return {name: rounded(name, shown[name]) for name in self._names}


def teacher_signals(
    teacher: nn.Module,
    checkpoint: Path,
    inputs: Sequence[TextInput],
    *,
    names: Collection[str] = (LOGITS,),
    of_tokens: bool = False,
    max_length: int,
    cache: Path,
) -> Signals:
    """The teacher's signals for every input, from the cache where it has them.

    Args:
        teacher: The model that `checkpoint` holds.
        checkpoint: Its folder; weights, tokenizer and settings make the fingerprint of the cache.
        inputs: Texts or pairs, in any order; duplicates are computed once.
        names: Which signals, as `observe` calls them.
        of_tokens: Whether its logits are of tokens, [S, C] for each text.
        max_length: Tokens, as the teacher is to see them.
        cache: The folder of all caches.
    """
    chosen = choose_format("auto", teacher)
    folder = place_of(teacher, checkpoint, max_length=max_length, cache=cache)
    caches = {name: SignalCache(folder / name) for name in names}
    keys = [key_of(one) for one in inputs]
    texts = dict(zip(keys, inputs, strict=True))
    missing = {key: text for key, text in texts.items() if any(key not in one for one in caches.values())}
    if missing:
        lacking = {name: one for name, one in caches.items() if any(key not in one for key in missing)}
        _compute(teacher, open_encoder(checkpoint, max_length=max_length), missing, lacking, chosen=chosen)
    whole = () if of_tokens else (LOGITS,)  # one row a text
    return Signals(
        rows={name: [one[key][0] if name in whole else one[key] for key in keys] for name, one in caches.items()},
        computed=len(missing),
        reused=len(texts) - len(missing),
    )


def place_of(teacher: nn.Module, checkpoint: Path, *, max_length: int, cache: Path) -> Path:
    """Where the signals of a teacher lie, in the number format that it is asked in here."""
    chosen = choose_format("auto", teacher)
    return place_for(settings_of(checkpoint, max_length=max_length, number_format=chosen), cache=cache)


def lacking(
    teacher: nn.Module, checkpoint: Path, inputs: Sequence[TextInput], *, names: Collection[str], max_length: int
) -> list[TextInput]:
    """The inputs of which the cache lacks one of the signals."""
    folder = place_of(teacher, checkpoint, max_length=max_length, cache=cache_folder())
    caches = [SignalCache(folder / name) for name in names]
    return [one for one in inputs if any(key_of(one) not in cache for cache in caches)]


def fingerprint(checkpoint: Path, *, max_length: int, number_format: str) -> str:
    """What `settings_of` says, as a name."""
    return name_of(settings_of(checkpoint, max_length=max_length, number_format=number_format))


def settings_of(checkpoint: Path, *, max_length: int, number_format: str) -> dict[str, object]:
    """What the signals depend on besides the text: weights, configs, tokenizer, length limit, number format.

    The way to write is a config too: it says in which language a translation is.
    """
    writing = checkpoint / GENERATION_CONFIG
    parts = (checkpoint / MODULES, *sorted(checkpoint.glob(f"*/{CONFIG}")))  # how sentence vectors are pooled
    pooling = [sha256_file(path) for path in parts if path.is_file()]
    return {
        "version": VERSION,
        "weights": [sha256_file(path) for path in sorted(checkpoint.glob("*.safetensors"))],
        "config": sha256_file(checkpoint / CONFIG),
        "tokenizer": sha256_file(tokenizer_file(checkpoint)),
        "max_length": max_length,
        "format": number_format,
        **({"pooling": pooling} if pooling else {}),
        **({"writing": sha256_file(writing)} if writing.is_file() else {}),
    }


@torch.inference_mode()
def _compute(
    teacher: nn.Module,
    encoder: Encoder,
    texts: Mapping[bytes, TextInput],
    caches: Mapping[str, SignalCache],
    *,
    chosen: Format,
) -> None:
    """Ask the teacher once about all texts, and keep every signal as the blocks of texts come to their end."""
    keys, encoded = list(texts), encoder.encode_all(list(texts.values()))
    was_training = teacher.training
    live = LiveTeacher(teacher.to(usual_device()), caches, chosen=chosen)
    for block, part in blocks(len(keys)):
        asked = passes(teacher, encoder, encoded[block], progress=partial(_shown, part=part))
        signals = ((batch, live.signal(arrays)) for batch, arrays in asked)
        _keep(signals, keys[block], lengths=[len(one) for one in encoded[block]], caches=caches)
    teacher.cpu().train(was_training)  # a GPU's memory is the student's


def _keep(
    signals: Iterable[tuple[list[int], Signal]],
    keys: Sequence[bytes],
    *,
    lengths: Sequence[int],
    caches: Mapping[str, SignalCache],
) -> None:
    """Write what was said, batch by batch, of texts of so many tokens.

    Raises:
        TrainingError: It was no number.
    """
    with contextlib.ExitStack() as files:
        rows: dict[str, list[NDArray[np.generic]]] = {}
        for batch, signal in signals:
            for name, values in signal.items():
                require_signal(values, name=name)
                if name not in rows:
                    of_texts = values.dim() == 2  # noqa: PLR2004 - [B, C]
                    writing = caches[name].writing(
                        keys,
                        lengths=[1] * len(keys) if of_texts else lengths,
                        width=values.shape[-1],
                        dtype=np.float32 if of_texts else np.float16,
                    )
                    rows[name] = files.enter_context(writing)
                _fill(rows[name], values.cpu().numpy(), batch)


def _shown(batches: Sequence[list[int]], *, part: str) -> Iterable[list[int]]:
    return progress.track(batches, f"asking the teacher{part}", total=len(batches))


def _fill(rows: Sequence[NDArray[np.generic]], values: NDArray[np.generic], batch: Sequence[int]) -> None:
    """Write what was said of a batch, [B, W] or [B, S, W], to the rows of its texts, [n, W] each."""
    for place, row in enumerate(batch):
        rows[row][:] = values[place, : len(rows[row])] if values.ndim == 3 else values[place]  # noqa: PLR2004


def rounded(name: str, values: Tensor) -> Tensor:
    """A signal as it is kept: the logits of texts whole, what is said of each token in half precision."""
    if name == LOGITS and values.dim() == 2:  # noqa: PLR2004
        return values.float()
    most = torch.finfo(torch.float16).max  # the sums that some models add layer after layer go beyond it
    return values.clamp(-most, most).to(torch.float16)
