"""Inputs as they come: a slow writer is answered line by line, a fast one in batches."""

import queue
import threading
from collections.abc import Iterable, Iterator

from kd_deploy.tasks.encoding import TextInput

MOST_WAITING = 256


def as_they_come(inputs: Iterable[TextInput]) -> Iterator[list[TextInput]]:
    """Lists of the inputs that have arrived meanwhile, a few hundred at most, in their order.

    The inputs are read in a thread of their own; what reading them raises is raised here, after the
    last input before it.
    """
    arrived: queue.Queue[TextInput | None] = queue.Queue(maxsize=MOST_WAITING)
    failed: list[BaseException] = []

    def read() -> None:
        try:
            for one in inputs:
                arrived.put(one)
        except BaseException as error:  # noqa: BLE001 - raised again where the answers are made
            failed.append(error)
        finally:
            arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    ended = False
    while not ended:
        waiting = [arrived.get()]
        while not arrived.empty():
            waiting.append(arrived.get())
        texts = [one for one in waiting if one is not None]
        ended = len(texts) < len(waiting)
        if texts:
            yield texts
    if failed:
        raise failed[0]
