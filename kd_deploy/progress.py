"""What long work says of itself. Silent as a library; the command line puts a bar behind it."""

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Reporter(Protocol):
    """Receives the steps of long work."""

    def say(self, message: str) -> None:
        """One line about what happens now."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yield the items, showing how many are done."""


class Silent:
    """The reporter of library use: says nothing."""

    def say(self, message: str) -> None:
        """Say nothing."""

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """Yield the items."""
        del description, total
        yield from items


_silent = Silent()
_reporter: ContextVar[Reporter] = ContextVar("reporter")


def say(message: str) -> None:
    """Tell the current reporter what happens now."""
    _reporter.get(_silent).say(message)


def track(items: Iterable[T], description: str, *, total: int) -> Iterator[T]:
    """Yield the items, with the current reporter counting them."""
    return _reporter.get(_silent).track(items, description, total)


class _About:
    # Says of all that it passes on what it is about.

    def __init__(self, what: str, reporter: Reporter) -> None:
        self._what = what
        self._reporter = reporter

    def say(self, message: str) -> None:
        self._reporter.say(f"{self._what}: {message}")

    def track(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        return self._reporter.track(items, f"{self._what}: {description}", total)


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Have each line of the block say what it is about."""
    with reporting_to(_About(what, _reporter.get(_silent))):
        yield


@contextlib.contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Send what long work says to `reporter` for the length of the block."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
