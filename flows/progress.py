"""What a run shows while it works: a terminal, a log, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Reporter(Protocol):
    """Told of every step as it goes."""

    def start(self, step: str, doing: str) -> None:
        """A step begins."""
        ...

    def advance(self, done: int, total: int) -> None:
        """The running step is so far."""
        ...

    def end(self, step: str, summary: str, *, reused: bool, seconds: float) -> None:
        """A step is whole."""
        ...


class Silent:
    """Says nothing."""

    def start(self, step: str, doing: str) -> None:
        """A step begins."""

    def advance(self, done: int, total: int) -> None:
        """The running step is so far."""

    def end(self, step: str, summary: str, *, reused: bool, seconds: float) -> None:
        """A step is whole."""


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=Silent())  # noqa: B039


def reporter() -> Reporter:
    """The reporter of this run."""
    return _reporter.get()


@contextmanager
def reporting(to: Reporter) -> Iterator[None]:
    """Send the progress of everything inside to a reporter."""
    token = _reporter.set(to)
    try:
        yield
    finally:
        _reporter.reset(token)
