"""Inputs as they come: a slow writer is answered line by line, a fast one in batches."""

import queue
import threading
from collections.abc import Iterable, Iterator

from kd_deploy.tasks.encoding import TextInput

MOST_WAITING = 256
READER = "kd-deploy reads inputs"  # the thread that does
GLANCE_SECONDS = 0.2  # how soon a full queue is noticed to have been left


def as_they_come(inputs: Iterable[TextInput]) -> Iterator[list[TextInput]]:
    """Lists of the inputs that have arrived meanwhile, a few hundred at most, in their order.

    The inputs are read in a thread of their own; what reading them raises is raised here, after the
    last input before it. Whoever wants no more closes this iterator: no further input is read then.
    """
    arriving = _Arriving()
    threading.Thread(target=arriving.read, args=(inputs,), name=READER, daemon=True).start()
    ended = False
    try:
        while not ended:
            waiting = arriving.take()
            texts = [one for one in waiting if not isinstance(one, _End)]
            ended = len(texts) < len(waiting)
            if texts:
                yield texts
    finally:
        arriving.left.set()
    if arriving.failure is not None:
        raise arriving.failure


class _End:
    # What is put behind the last input; None may be an input, and a wrong one.
    pass


class _Arriving:
    # What one thread reads and another takes.

    def __init__(self) -> None:
        self.left = threading.Event()
        self.failure: BaseException | None = None
        self._queue: queue.Queue[TextInput | _End] = queue.Queue(maxsize=MOST_WAITING)

    def read(self, inputs: Iterable[TextInput]) -> None:
        try:
            for one in inputs:
                if not self._put(one):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the answers are made
            self.failure = error
        self._put(_End())

    def take(self) -> list[TextInput | _End]:
        found = [self._queue.get()]
        while not self._queue.empty():
            found.append(self._queue.get())
        return found

    def _put(self, one: TextInput | _End) -> bool:
        # Whether anybody still waits for it.
        while not self.left.is_set():
            try:
                self._queue.put(one, timeout=GLANCE_SECONDS)
            except queue.Full:
                continue
            return True
        return False
