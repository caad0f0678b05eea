"""A registry file and the record of what it published, on the disk: read sound, written whole.

A line of the record is on the disk before the registry that names it, and that registry waits
under another name meanwhile: a writer that dies in between is rolled forward by whoever reads next.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feast.protos.feast.core.Registry_pb2 import Registry as RegistryMessage
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships none

from firnline.adapters.artifact_store import locked
from firnline.adapters.feast_guard import published_file
from firnline.adapters.feast_guard.file_rules import not_as_published
from firnline.adapters.feast_guard.published_file import Entry, Published
from firnline.adapters.feast_guard.registry_objects import entries
from firnline.digest import bytes_digest
from firnline.errors import HandshakeError

_SCHEMA_VERSION = "1"


@dataclass(frozen=True)
class Held:
    """What is on the disk.

    Attributes:
        registry: Feast's Registry message; None when there is no file yet.
        published: What it has published.
    """

    registry: Any
    published: Published

    @property
    def entries(self) -> list[Entry]:
        """Every object of the registry."""
        return [] if self.registry is None else entries(self.registry)

    @property
    def whole(self) -> Any:
        """The registry's message; an empty one when there is no file yet."""
        return empty_registry() if self.registry is None else self.registry


class RegistryDisk:
    """The files of one registry.

    Attributes:
        path: The registry file.
        record: What it has published.
        flock: Held by the one who writes.
        waiting: The registry that is about to take the file's place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = published_file.published_path(path)
        self.flock = path.with_name(f"{path.name}.flock")
        self.waiting = path.with_name(f".{path.name}.next")
        self._sound: tuple[str, str] | None = None

    @contextmanager
    def alone(self) -> Iterator[Held]:
        """What is on the disk, which nobody else writes to meanwhile.

        Raises:
            HandshakeError: As `read`.
        """
        with locked(self.flock):
            self._roll_forward()
            yield self._read()

    def read(self) -> Held:
        """What is on the disk, looked at anew when it is another than the last time.

        Raises:
            HandshakeError: G22 when the registry is gone, cut off, an older copy, or holds
                something else under a published name; G23 when the record is damaged.
        """
        try:
            return self._read()
        except HandshakeError:
            # A writer may have been between its two files, or have died there.
            with self.alone() as held:
                return held

    def write(self, registry: Any, published: Published, added: list[Entry]) -> Any:
        """Put a registry in the place of the one that is there; call it `alone`.

        Args:
            registry: Feast's Registry message.
            published: What the record holds.
            added: What the registry publishes beside that.

        Returns:
            The message as it was written, with its new version and time.
        """
        version, line, head = str(uuid.uuid4()), b"", published.head
        if added:
            line, head = published_file.next_line(published, added, version)
        written = RegistryMessage.FromString(registry.SerializeToString())
        written.version_id = f"{version}.{head}" if head else version
        written.last_updated.FromDatetime(datetime.now(UTC))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_through(self.waiting, written.SerializeToString())
        if added:
            published_file.append(self.record, published, line)
        self._swap()
        return written

    def _read(self) -> Held:
        published = published_file.read(self.record)
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            if published.entries:
                raise _altered(self.path, "the file is gone") from None
            return Held(None, published)
        try:
            registry = RegistryMessage.FromString(content)
        except DecodeError as error:
            raise _altered(self.path, "the file is cut off, or no registry") from error
        state = (bytes_digest(content), published.head)
        if state != self._sound:
            self._examine(registry, published)
            self._sound = state
        return Held(registry, published)

    def _examine(self, registry: Any, published: Published) -> None:
        head = registry.version_id.partition(".")[2]
        if head and head not in published.heads:
            raise published_file.damaged(str(self.record), "lines at its end are gone")
        words = not_as_published(published.entries, entries(registry))
        if words:
            raise _altered(self.path, "; ".join(words))
        if head and head != published.head:
            raise _altered(self.path, "the file is an older copy")

    def _roll_forward(self) -> None:
        """Finish a write whose line is on the disk; any other that was cut short never was."""
        try:
            waiting = RegistryMessage.FromString(self.waiting.read_bytes())
            version = published_file.read(self.record).version
        except (FileNotFoundError, DecodeError):
            return
        if version and waiting.version_id.partition(".")[0] == version:
            self._swap()

    def _swap(self) -> None:
        self.waiting.replace(self.path)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def empty_registry() -> Any:
    """The Registry message that Feast begins with."""
    return RegistryMessage(registry_schema_version=_SCHEMA_VERSION)


def write_through(path: Path, content: bytes) -> None:
    """Write a file onto the disk before anything after it is written."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _altered(path: Path, found: str) -> HandshakeError:
    return HandshakeError(
        "G22",
        found=f"the registry file is not what it has published: {found}",
        where=str(path),
        mend="put it back from a backup, or together again from the record beside it: "
        f"python -m firnline.adapters.feast_guard.file_restore {path}",
    )
