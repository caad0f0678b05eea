"""What a registry file has published, in a file beside it that only grows.

A line is `<sha256> <canonical JSON>`; the JSON names the line before by its sha256, so that a line
that was edited, dropped or put elsewhere is found. Whole protobuf messages are kept: they say what
an object meant even to a later firnline that reads more out of them, and a registry file that was
lost can be put together again. The registry names the last line, so a cut-off end is found too.
"""

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firnline.digest import bytes_digest, canonical_json
from firnline.errors import HandshakeError


@dataclass(frozen=True, order=True)
class Entry:
    """One published object.

    Attributes:
        project: Feast's project.
        family: view, service, source, entity, or history: one version Feast keeps of a view.
        name: Its name; `device_window_v1@0` for a history.
        kind: Name of the protobuf message.
        message: The message as it was when it was published.
        meaning: Canonical JSON of what it meant to the Python that published it: the byte code of
            a function reads otherwise to another. Empty for a history.
    """

    project: str
    family: str
    name: str
    kind: str
    message: bytes
    meaning: str = field(default="", compare=False)

    def document(self) -> dict[str, str]:
        """As a line holds it."""
        return {
            "project": self.project,
            "family": self.family,
            "name": self.name,
            "kind": self.kind,
            "message": base64.b64encode(self.message).decode(),
            "meaning": self.meaning,
        }


@dataclass(frozen=True)
class Published:
    """All lines of the file.

    Attributes:
        entries: Published objects, the earliest first.
        heads: sha256 of each line; the last one stands for the whole file.
        version: The registry that the last line was written for.
        size: Bytes of the lines; a line that was cut off while it was written is not among them.
    """

    entries: tuple[Entry, ...] = ()
    heads: tuple[str, ...] = ()
    version: str = ""
    size: int = 0

    @property
    def head(self) -> str:
        """sha256 of the last line; empty when nothing is published."""
        return self.heads[-1] if self.heads else ""


def published_path(registry: Path) -> Path:
    """Where the published objects of a registry file are recorded."""
    return registry.with_name(f"{registry.name}.published")


def read(path: Path) -> Published:
    """All that was published.

    Args:
        path: As `published_path` gives it; nothing is published when there is no file.

    Raises:
        HandshakeError: G23 when a line is not what was written.
    """
    content = path.read_bytes() if path.exists() else b""
    # Without its newline a line was being written when the writer died: it never counted.
    whole = content[: content.rfind(b"\n") + 1]
    entries: list[Entry] = []
    heads: list[str] = []
    version = ""
    for number, line in enumerate(whole.splitlines(), start=1):
        previous = heads[-1] if heads else ""
        found, head, version = _parsed(line, previous, f"{path.name} line {number}")
        entries += found
        heads.append(head)
    return Published(tuple(entries), tuple(heads), version, len(whole))


def next_line(published: Published, entries: Iterable[Entry], version: str) -> tuple[bytes, str]:
    """The line that publishes more objects, and its sha256; nothing is written yet.

    Args:
        published: What the file holds.
        entries: What it is to hold besides.
        version: The registry that it is written for.
    """
    document = {
        "objects": [entry.document() for entry in sorted(entries)],
        "previous": published.head,
        "version": version,
    }
    text = canonical_json(document).encode()
    head = bytes_digest(text)
    return head.encode() + b" " + text + b"\n", head


def append(path: Path, published: Published, line: bytes) -> None:
    """Write a line behind the others, onto the disk.

    Args:
        path: The file.
        published: What it holds, as `read` gave it under the lock that is still held.
        line: As `next_line` made it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, published.size)
        os.lseek(descriptor, published.size, os.SEEK_SET)
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damaged(where: str, found: str) -> HandshakeError:
    """The error of a file that is not what was written."""
    return HandshakeError(
        "G23",
        found=f"the record of what this registry has published is damaged: {found}",
        where=where,
        mend="put the file back from a backup; without one, remove it and the registry file and "
        "apply the repository again: features.lock still holds every version",
    )


def _parsed(line: bytes, previous: str, where: str) -> tuple[list[Entry], str, str]:
    head, _, text = line.partition(b" ")
    if bytes_digest(text).encode() != head:
        raise damaged(where, "the line is not the one its sha256 was taken of")
    try:
        document = json.loads(text)
        entries = [_entry(item) for item in document["objects"]]
        before, version = document["previous"], document["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(where, f"the line does not read as one ({error!r})") from error
    if before != previous:
        raise damaged(where, "a line before it was taken out or put in")
    return entries, head.decode(), version


def _entry(item: dict[str, Any]) -> Entry:
    message = base64.b64decode(item["message"], validate=True)
    named = (item["project"], item["family"], item["name"], item["kind"])
    return Entry(*named, message, item["meaning"])
