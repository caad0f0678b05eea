"""What a table's data has been: an append-only log of commits, each line vouching for all before.

A line is `<sha256> <canonical JSON>`; the sha256 is of the line before it and of its own JSON, so
that a line cannot be changed, dropped or moved unseen. The last line is the newest data. What is
cut off at the end shows by HEAD, which repeats the last line.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.adapters.artifact_store import write_atomically
from firnline.adapters.feature_data_parts import synced
from firnline.digest import bytes_digest, canonical_json
from firnline.errors import HandshakeError

LOG = "revisions.log"
HEAD = "HEAD"
_FIRST = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One commit.

    Attributes:
        snapshot: Digest of the data it made the newest.
        view: Digest of the version the data is of.
        revisions: Partition name, revision and sha256 of what it added.
        chain: sha256 that vouches for this line and all before it.
    """

    snapshot: str
    view: str
    revisions: tuple[tuple[str, int, str], ...]
    chain: str

    def line(self) -> str:
        """The log's line."""
        return f"{self.chain} {_text(self.snapshot, self.view, self.revisions)}\n"


@dataclass(frozen=True)
class Log:
    """The whole lines of a table's log that vouch for each other.

    Attributes:
        entries: Commits in order.
        torn: What a killed write left after the last whole line.
        broken: Number of the first line that is not what was written, or None.
    """

    entries: tuple[Entry, ...] = ()
    torn: str = ""
    broken: int | None = None

    @property
    def newest(self) -> Entry | None:
        """The last commit."""
        return self.entries[-1] if self.entries else None

    def revisions(self) -> dict[str, dict[str, int]]:
        """Partition name -> sha256 -> revision."""
        found: dict[str, dict[str, int]] = {}
        for entry in self.entries:
            for name, revision, sha256 in entry.revisions:
                found.setdefault(name, {})[sha256] = revision
        return found


def read_log(table: Path) -> Log:
    """The log of a table's folder, as far as it is what was written; empty where there is none."""
    try:
        text = (table / LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return Log()
    *lines, torn = text.split("\n")
    entries: list[Entry] = []
    chain = _FIRST
    for number, line in enumerate(lines, start=1):
        entry = _parse(line, chain)
        if entry is None:
            return Log(tuple(entries), torn, number)
        entries.append(entry)
        chain = entry.chain
    return Log(tuple(entries), torn)


def append(
    table: Path, log: Log, snapshot: str, view: str, revisions: Iterable[tuple[str, int, str]]
) -> Log:
    """Add a commit; the line is on the disk when this returns. HEAD still names the one before.

    Args:
        table: The table's folder; its lock is held.
        log: What `read_log` gave.
        snapshot: Digest of the newest data.
        view: Digest of the version.
        revisions: Partition name, revision and sha256; those the log has are left out.
    """
    known = log.revisions()
    new = tuple(found for found in revisions if found[2] not in known.get(found[0], {}))
    before = log.newest.chain if log.newest else _FIRST
    chain = bytes_digest((before + _text(snapshot, view, new)).encode())
    entry = Entry(snapshot, view, new, chain)
    if log.torn or log.broken:
        write_atomically(table / LOG, "".join(each.line() for each in (*log.entries, entry)))
    else:
        with (table / LOG).open("a", encoding="utf-8") as stream:
            stream.write(entry.line())
    synced(table / LOG)
    return Log((*log.entries, entry))


def point(table: Path, log: Log) -> None:
    """Let HEAD name the last commit."""
    if log.newest and _head(table) != _pointer(log.newest):
        write_atomically(table / HEAD, _pointer(log.newest))
        synced(table)


def trusted(table: Path, log: Log) -> Log:
    """The log, if every line is what was written and HEAD names its end.

    HEAD may be one commit behind: it is written after the log, and that is when a kill strikes.

    Raises:
        HandshakeError: P5 when the log or HEAD was edited, cut off, lost, or taken back.
    """
    if log.broken is not None:
        raise _untrue(table / LOG, f"line {log.broken} is not what was written")
    text = _head(table)
    if text in [_pointer(entry) for entry in log.entries[-2:]] or (
        text is None and len(log.entries) < 2
    ):
        return log
    told = "is missing" if text is None else f"names {text[:16]!r}"
    ends = log.newest.snapshot[:16] if log.newest else "nothing"
    raise _untrue(table / HEAD, f"HEAD {told}, {LOG} ends with {ends}")


def head(table: Path) -> str | None:
    """The snapshot that HEAD names, true or not; None where there is no HEAD."""
    text = _head(table)
    return None if text is None else text.partition(" ")[0]


def _head(table: Path) -> str | None:
    try:
        return (table / HEAD).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _pointer(entry: Entry) -> str:
    return f"{entry.snapshot} {entry.chain}\n"


def _parse(line: str, before: str) -> Entry | None:
    chain, _, text = line.partition(" ")
    if bytes_digest((before + text).encode()) != chain:
        return None
    record: dict[str, Any] = json.loads(text)
    revisions = tuple((str(n), int(r), str(s)) for n, r, s in record["revisions"])
    return Entry(record["snapshot"], record["view"], revisions, chain)


def _text(snapshot: str, view: str, revisions: tuple[tuple[str, int, str], ...]) -> str:
    return canonical_json({"snapshot": snapshot, "view": view, "revisions": revisions})


def _untrue(path: Path, found: str) -> HandshakeError:
    return HandshakeError(
        "P5",
        found=found,
        where=str(path),
        mend="take the file back from a backup, or run the step that wrote the data again: the "
        "commit sets both right from the snapshots there are",
    )
