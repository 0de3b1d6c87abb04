"""A teacher on a server: every text asked once, and of its answers no more kept than the recipe allows.

How requests are sent stands in `http`, what they hold in `oip` and `chat`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kd_deploy import progress
from kd_deploy.distill import processes
from kd_deploy.distill.endpoint.answers import what_may_be_kept
from kd_deploy.distill.endpoint.chat import PAIR_QUESTION, QUESTION, Chat
from kd_deploy.distill.endpoint.http import Connection
from kd_deploy.distill.endpoint.oip import open_tensors
from kd_deploy.distill.signal_cache import SignalCache, key_of, name_of, place_for
from kd_deploy.errors import TrainingError
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.tasks.encoding import TextInput

VERSION = 2  # of what answers mean
SEGMENT_TEXTS = 500  # answers that are written together,
SEGMENT_SECONDS = 30.0  # or those of so long
TRIAL_TEXTS = 20
PATHS = {"oip": "v2", "openai": "v1"}
# What does not change an answer: how fast, how often, with whose token it is asked for.
ONLY_THE_WAY = {"batch_size", "timeout_s", "retries", "concurrency", "api_key_env"}

Rows = Mapping[bytes, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAnswers:
    """What a teacher on a server said: logits [N, C], or log-probabilities, which serve as such.

    `answered` [N] says of which inputs it named a label; those of the others are alike for all. `computed` and `reused`
    count different texts.
    """

    logits: NDArray[np.float32]
    answered: NDArray[np.bool_]
    computed: int
    reused: int


class _Asking(Protocol):
    @property
    def batch_size(self) -> int:
        """How many texts a request takes."""

    def ask(self, inputs: Sequence[TextInput]) -> NDArray[np.float64]:
        """Scores [B, C]; a row of NaN where the teacher named no label."""


class RemoteTeacher:
    """A teacher that stays on its server, and the cache of its answers."""

    def __init__(self, settings: Endpoint, *, labels: tuple[str, ...], cache: Path) -> None:
        """Open the cache; the server is asked for nothing yet.

        Args:
            settings: The section of the recipe.
            labels: In the order of the student's classes, [C].
            cache: The folder of all caches.
        """
        self._settings = settings
        self._labels = labels
        self._folder = place_for(settings_of(settings, labels), cache=cache) / "logits"
        self._cache = SignalCache(self._folder)

    @property
    def name(self) -> str:
        """The model, and where it answers."""
        return f"{self._settings.model} at {self._settings.url}"

    def logits(self, inputs: Sequence[TextInput]) -> RemoteAnswers:
        """The answer to every input, from the cache where it has them.

        What comes is written every 500 texts and when the work breaks off, so that the next run asks for the rest.
        A text to which a chat model names no label is asked again by the next run. Of several processes the first one
        asks, and the others find what it kept.

        Args:
            inputs: Texts or pairs, in any order; duplicates are asked once.

        Raises:
            TrainingError: The server refuses, stays silent after all retries, or answers what cannot be used.
            MissingExtraError: httpx2 is not installed.
        """
        if not processes.is_first():  # the first one has asked meanwhile
            self._cache = SignalCache(self._folder)
        keys = [key_of(one) for one in inputs]
        texts = dict(zip(keys, inputs, strict=True))
        missing = {key: text for key, text in texts.items() if key not in self._cache}
        if missing and processes.is_first():
            self._ask(missing, reused=len(texts) - len(missing))
        classes = len(self._labels)
        alike = np.full(classes, -np.log(classes), dtype=np.float32)
        rows = [self._cache[key][0] if key in self._cache else alike for key in keys]
        return RemoteAnswers(
            logits=np.array(rows, dtype=np.float32).reshape(-1, classes),
            answered=np.array([key in self._cache for key in keys], dtype=bool),
            computed=len(missing),
            reused=len(texts) - len(missing),
        )

    def _ask(self, missing: Mapping[bytes, TextInput], *, reused: int) -> None:
        settings = self._settings
        with Connection(settings, version=PATHS[settings.protocol]) as connection:
            asking = _open(settings, self._labels, connection=connection)
            batches = _batches(missing, size=asking.batch_size)

            def ask(batch: Sequence[bytes]) -> Rows:
                scores = asking.ask([missing[key] for key in batch])
                kept = what_may_be_kept(scores, top_k=settings.top_k, decimals=settings.decimals)
                return dict(zip(batch, kept, strict=True))

            with ThreadPoolExecutor(settings.concurrency) as pool:
                try:
                    most = 2 * settings.concurrency
                    answers = _in_flight(pool, ask, batches, most=most, give_up=connection.stop)
                    self._collect(progress.track(answers, "asking the teacher", total=len(batches)), reused=reused)
                finally:
                    connection.stop()
                    pool.shutdown(cancel_futures=True)

    def _collect(self, answers: Iterable[Rows], *, reused: int) -> None:
        """Keep the rows as they come; whatever ends the work, those that have come are kept."""
        pending: dict[bytes, NDArray[np.float32]] = {}
        kept_at = time.monotonic()
        heard, silent = reused, 0
        try:
            for rows in answers:
                named = {key: row for key, row in rows.items() if np.isfinite(row).all()}
                pending |= named
                heard, silent = heard + len(named), silent + len(rows) - len(named)
                if silent >= TRIAL_TEXTS and not heard:
                    raise self._says_nothing(silent)
                if len(pending) >= SEGMENT_TEXTS or time.monotonic() - kept_at > SEGMENT_SECONDS:
                    self._keep(pending)
                    pending, kept_at = {}, time.monotonic()
        finally:
            self._keep(pending)
        if silent:
            progress.say(f"{silent} of {heard + silent} texts got no label from the teacher")

    def _keep(self, rows: Rows) -> None:
        if not rows:
            return
        keys = sorted(rows)
        with self._cache.writing(keys, lengths=[1] * len(keys), width=len(self._labels), dtype=np.float32) as places:
            for key, place in zip(keys, places, strict=True):
                place[:] = rows[key]

    def _says_nothing(self, count: int) -> TrainingError:
        return TrainingError(
            f"{self._settings.model} at {self._settings.url} named no label for any of the first {count} texts",
            hint="its first token must be the letter of a label: turn thinking off, or say so in "
            "teacher.endpoint.prompt",
        )


def fingerprint(settings: Endpoint, labels: tuple[str, ...]) -> str:
    """What `settings_of` says, as a name."""
    return name_of(settings_of(settings, labels))


def settings_of(settings: Endpoint, labels: tuple[str, ...]) -> dict[str, object]:
    """What the answers depend on besides the text: server, model, question, labels, and what may be kept.

    Args:
        settings: The section of the recipe.
        labels: In the order of the student's classes, [C].
    """
    told = settings.model_dump(exclude=ONLY_THE_WAY) | {"url": settings.url.rstrip("/")}
    questions = [settings.prompt] if settings.prompt else [QUESTION, PAIR_QUESTION]
    asked = {"prompt": questions if settings.protocol == "openai" else None}
    return {"version": VERSION, "classes": labels} | told | asked


def _open(settings: Endpoint, labels: tuple[str, ...], *, connection: Connection) -> _Asking:
    if settings.protocol == "openai":
        return Chat(settings=settings, labels=labels, connection=connection)
    return open_tensors(settings, labels, connection=connection)


def _batches(texts: Mapping[bytes, TextInput], *, size: int) -> list[list[bytes]]:
    """The keys in batches of texts alone or of pairs alone."""
    kinds = [[key for key, text in texts.items() if isinstance(text, kind)] for kind in (str, tuple)]
    return [keys[start : start + size] for keys in kinds for start in range(0, len(keys), size)]


def _in_flight(
    pool: ThreadPoolExecutor,
    ask: Callable[[Sequence[bytes]], Rows],
    batches: Iterable[Sequence[bytes]],
    *,
    most: int,
    give_up: Callable[[], None],
) -> Iterator[Rows]:
    """Answers in the order in which they come, with `most` batches handed to the pool at a time.

    Where one of them fails, no more are asked for, those under way are waited for and given, and its error is raised:
    each may have been paid.
    """
    waiting: set[Future[Rows]] = set()
    left = iter(batches)
    while True:
        waiting |= {pool.submit(ask, batch) for batch in islice(left, most - len(waiting))}
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        failed = [future for future in done if future.exception()]
        if failed:
            give_up()
            done |= wait({future for future in waiting if not future.cancel()}).done
        for future in done:
            if not future.exception():
                yield future.result()
        if failed:
            failed[0].result()
