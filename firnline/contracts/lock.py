"""features.lock: one line a published feature version, which never changes and never goes.

A line is `<reference> <sha256 of the record> <canonical JSON of the record>`, so it verifies
itself. Lines stand in the order of name and version number, one newline after each, so that a
line-by-line union of two branches' files is a lock again as soon as it is sorted. Comments (`#`)
and blank lines may stand above the first line and nowhere else.

| rule | holds when |
|---|---|
| L1 | no published line is changed or dropped |
| L2 | every line reads as one, and its record is of the reference it stands under |
| L3 | a line's digest is that of its record, which is in canonical form |
| L4 | lines are sorted |
| L5 | no version has two lines |
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from firnline.contracts.breach import Breach, refuse
from firnline.contracts.differences import differences
from firnline.contracts.features import parse_reference
from firnline.contracts.lock_lines import (
    Line,
    Lock,
    examine,
    in_order,
    not_of,
    parse,
    render,
    stands_under,
    tidied,
)
from firnline.digest import short

__all__ = [
    "Line",
    "Lock",
    "Versioned",
    "add",
    "appended",
    "changed",
    "differences",
    "disagreements",
    "examine",
    "joined",
    "line_of",
    "next_version",
    "parse",
    "render",
    "tidied",
    "union",
]


class Versioned(Protocol):
    """What can be published: a window view, or the outputs of a trained stage."""

    @property
    def reference(self) -> str:
        """`name@vN`."""
        ...

    def record(self) -> dict[str, Any]:
        """What the version means, as canonical JSON can hold it."""
        ...

    def digest(self) -> str:
        """sha256 of the record."""
        ...


def line_of(version: Versioned) -> Line:
    """The line a version has once it is published."""
    return Line(version.reference, version.digest(), version.record())


def add(lock: Lock, versions: Iterable[Versioned]) -> Lock:
    """Publish versions; those that are published already with the same digest stay as they are.

    Args:
        lock: What is published.
        versions: What is to be.

    Raises:
        HandshakeError: L1 when a version is published with another digest, L2 when its record
            is of another name or version; every breach at once, and nothing is added.
    """
    lines = {line.reference: line for line in lock}
    breaches = []
    for line in map(line_of, versions):
        published = lines.setdefault(line.reference, line)
        if published.digest != line.digest:
            breaches.append(changed(published, line, lock, "the definition"))
        elif not stands_under(line):
            breaches.append(not_of(line, "the definition"))
    refuse(breaches, "publishing")
    return Lock(in_order(lines.values()), lock.head)


def joined(locks: Mapping[str, Lock]) -> Lock:
    """Several locks as one.

    Args:
        locks: Name of a file -> what it holds; an earlier one was published first.

    Raises:
        HandshakeError: L1 when two disagree on a version, every one at once.
    """
    refuse(disagreements(locks), "the feature lock")
    return union(locks.values())


def disagreements(locks: Mapping[str, Lock]) -> list[Breach]:
    """L1 for every version that a later file holds with another digest than an earlier one.

    Args:
        locks: Name of a file -> what it holds; an earlier one was published first.
    """
    known = union(locks.values())
    return [
        changed(published, line, known, where)
        for where, lock in locks.items()
        for line in lock
        if (published := known.get(line.reference)) and published.digest != line.digest
    ]


def union(locks: Iterable[Lock]) -> Lock:
    """Every version once, as the first lock that holds it has it."""
    lines: dict[str, Line] = {}
    for lock in locks:
        for line in lock:
            lines.setdefault(line.reference, line)
    return Lock(in_order(lines.values()))


def appended(base: Lock, now: Lock, where: str, fork: Lock | None = None) -> list[Breach]:
    """What has been done to published lines since: L1 for each that was changed or dropped.

    Args:
        base: What was published.
        now: What stands in the file.
        where: The file, for the breaches.
        fork: What was published where `now` and `base` parted, when `base` has moved on since;
            what it gained after that is not missed.
    """
    known = union((now, base))
    breaches = []
    for line in base:
        found = now.get(line.reference)
        if found is not None and found.digest != line.digest:
            breaches.append(changed(line, found, known, where))
        elif found is None and (fork is None or fork.get(line.reference) is not None):
            breaches.append(
                Breach(
                    "L1",
                    f"the line of {line.label} is gone",
                    where,
                    "put it back as it was; a published version stays, whoever still reads it",
                )
            )
    return breaches


def changed(published: Line, line: Line, lock: Lock, where: str, code: str = "L1") -> Breach:
    """The breach of a published version that means something else now.

    Args:
        published: Its line.
        line: What it would become.
        lock: Every published version, for the name of the next.
        where: The place that holds `line`.
        code: The rule that is broken.
    """
    words = differences(published.record, line.record) or ["another record of the same meaning"]
    name, _ = parse_reference(line.reference)
    return Breach(
        code,
        f"{published.label} would become #{short(line.digest)}: {', '.join(words)}",
        where,
        f"undo the change, or publish it as {next_version(lock, name)}",
    )


def next_version(lock: Lock, name: str) -> str:
    """The reference that a name's next version takes: `device_window@v3`."""
    versions = (line.order for line in lock)
    newest = max((number for known, number in versions if known == name), default=0)
    return f"{name}@v{newest + 1}"
