"""The links of a walk: each holds, is broken, or could not be seen, and by what digests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from firnline.errors import FirnlineError

Mark = Literal["holds", "broken", "unseen"]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Seen:
    """What looking at a link found.

    Attributes:
        found: One sentence.
        digests: What -> digest that was computed here, and is what the link before names.
        details: Lines that tell more.
    """

    found: str
    digests: Mapping[str, str] = field(default_factory=dict)
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """One link from an answer towards its raw readings.

    Attributes:
        name: What is linked, in a word or two.
        mark: Whether it holds; `unseen` where a link before it has to be mended first.
        seen: What was found.
        error: Why it is broken.
    """

    name: str
    mark: Mark
    seen: Seen
    error: FirnlineError | None = None

    def document(self) -> dict[str, Any]:
        """The link as JSON."""
        return {
            "link": self.name,
            "mark": self.mark,
            "found": self.seen.found,
            "digests": dict(self.seen.digests),
            "details": list(self.seen.details),
            "error": None if self.error is None else self.error.document(),
        }


@dataclass(frozen=True)
class Walk:
    """All links of one answer, from the device to the readings.

    Attributes:
        answer: The record of the score log.
        links: In the order of the walk.
    """

    answer: Mapping[str, Any]
    links: tuple[Link, ...]

    @property
    def whole(self) -> bool:
        """Whether every link was looked at and holds."""
        return all(link.mark == "holds" for link in self.links)

    def document(self) -> dict[str, Any]:
        """The walk as JSON."""
        return {
            "answer": dict(self.answer),
            "whole": self.whole,
            "links": [link.document() for link in self.links],
        }


class Trail:
    """Looks at one link after the other, and goes on behind a broken one where it can.

    Attributes:
        links: What was looked at so far.
    """

    def __init__(self) -> None:
        self.links: list[Link] = []

    def look(self, name: str, work: Callable[[], tuple[Seen, Made]]) -> Made | None:
        """Look at a link; what it leads to, or None where it is broken.

        Args:
            name: What is linked.
            work: Gives what it saw and what it leads to, or raises why the link is broken.
        """
        try:
            seen, made = work()
        except FirnlineError as error:
            self.links.append(Link(name, "broken", Seen(error.found), error))
            return None
        self.links.append(Link(name, "holds", seen))
        return made

    def skip(self, *names: str, because: str) -> None:
        """Name links that cannot be looked at."""
        self.links += [Link(name, "unseen", Seen(because)) for name in names]
