"""What is said while several tasks are at work says whose it is."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import pytest

from kd_deploy import progress
from kd_deploy.errors import DataError
from kd_deploy.tasks.heads import MAIN, speaking_of
from tests.heard import Heard

T = TypeVar("T")


class HeardBars(Heard):
    """Keeps what bars are about, too."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        self.said.append(f"{description} ({total})")
        yield from items


def work() -> None:
    progress.say("epoch 1")
    assert list(progress.track([1, 2], "training", total=2)) == [1, 2]


def test_lines_bars_and_faults_name_the_further_task_they_are_about() -> None:
    with progress.reporting_to(heard := HeardBars()):
        with speaking_of(MAIN):
            work()
        with speaking_of("topic"):
            work()
        work()
        with pytest.raises(DataError, match=r"^tasks\.topic: no rows$") as caught, speaking_of("topic"):
            raise DataError("no rows", hint="add some")
        with pytest.raises(DataError, match=r"^no rows$"), speaking_of(MAIN):
            raise DataError("no rows", hint="add some")

    plain = ["epoch 1", "training (2)"]
    assert heard.said == [*plain, *(f"task topic: {one}" for one in plain), *plain]
    assert caught.value.hint == "add some"
