"""A store for Feast's file registry that loses no update and keeps what was published.

In feature_store.yaml, with the file that holds the published versions (`features.lock` beside it
unless `firnline_lock` names one or a list):

    registry:
      path: registry.db
      registry_store_type: firnline.adapters.feast_guard.file_store.FirnlineRegistryStore
      firnline_lock: features.lock

Feast reads the whole registry, changes it in memory and writes it back, so of two clients the
later one wins. Here a write counts only if the file is still the one it was made from. What is
published is recorded in a second file; a line is on the disk before the registry that names it,
and that registry waits under another name: a writer that dies in between is rolled forward.
"""

import os
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryMessage
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships none

from firnline.adapters.artifact_store import locked
from firnline.adapters.feast_guard import precheck, published_file
from firnline.adapters.feast_guard.file_rules import (
    held_meanings,
    newly_published,
    not_as_published,
    registry_breaches,
)
from firnline.adapters.feast_guard.meaning import Meaning
from firnline.adapters.feast_guard.published_file import Entry, Published
from firnline.adapters.feast_guard.registry_objects import (
    canonical,
    changed,
    entries,
    meanings,
    put_back,
)
from firnline.adapters.feast_guard.rules import Key, Record, Rules
from firnline.adapters.lock_file import read_lock
from firnline.contracts.breach import refuse
from firnline.contracts.lock import joined
from firnline.digest import bytes_digest
from firnline.errors import HandshakeError

SCHEMA_VERSION = "1"
_LOCK = "features.lock"


@dataclass(frozen=True)
class Held:
    """What is on the disk.

    Attributes:
        registry: Feast's Registry message; None when there is no file yet.
        published: What it has published.
    """

    registry: Any
    published: Published


class FirnlineRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast ships no types
    """Feast's file registry, written whole, by one at a time, and never against the lock."""

    def __init__(self, registry_config: Any, repo_path: Path | None) -> None:
        folder = Path(repo_path or ".")
        super().__init__(registry_config, folder)
        named = getattr(registry_config, "firnline_lock", None) or _LOCK
        names = [named] if isinstance(named, str) else list(named)
        self._locks = tuple(folder / name for name in names)
        self._mutex = threading.RLock()
        # What was read last, and its bytes then: Feast changes it in memory until it commits.
        self._issued: tuple[Any, bytes] | None = None
        self._dropped: set[tuple[str, str, str]] = set()
        self._sound: tuple[str, str] | None = None
        precheck.install()

    @property
    def path(self) -> Path:
        """The registry file."""
        return Path(self._filepath)

    def published(self) -> Published:
        """What this registry has published.

        Raises:
            HandshakeError: G22 or G23, as reading the registry does.
        """
        with self._mutex:
            return self._held().published

    def state(self, project: str) -> tuple[Rules, dict[Key, Meaning]]:
        """The rules of a project, and what each of its objects means.

        Args:
            project: Feast's project.

        Raises:
            HandshakeError: As reading the registry or its lock files does.
        """
        with self._mutex:
            held = self._held()
        now = meanings(_in(held.registry))
        published = held_meanings(held.published.entries, now).get(project, {})
        return Rules(self.lines(), published), now.get(project, {})

    def lines(self) -> Mapping[str, Record]:
        """Feast's name of every published version -> its line in the lock files.

        Raises:
            HandshakeError: An L-code when a lock file is not whole.
        """
        lock = joined({str(path): read_lock(path) for path in self._locks})
        return {line.table: Record(line.reference, line.digest, line.record) for line in lock}

    def get_registry_proto(self) -> Any:
        """The registry as it is on the disk, its published objects as they were published.

        Raises:
            FileNotFoundError: There is no registry yet; Feast then makes an empty one.
            HandshakeError: G22 when the file is gone, cut off, an older copy, or holds something
                else under a published name; G23 when the record of what it published is damaged.
        """
        with self._mutex:
            registry = self._held().registry
            if registry is None:
                raise FileNotFoundError(f'no registry at {self.path}; "feast apply" makes it')
            self._note_what_is_dropped()
            self._issue(registry)
            return registry

    def update_registry_proto(self, registry_proto: Any) -> None:
        """Write the registry, all of it or nothing.

        After a refusal the message holds what is on the disk, so that Feast's cache neither shows
        what was refused nor writes it with the next change.

        Args:
            registry_proto: What was read, changed; its version is renewed.

        Raises:
            HandshakeError: G1 to G6 when a published object would change or go, G20 when the
                registry has moved on since it was read, an L-code when a lock file is not whole.
        """
        with self._mutex, locked(self._flock):
            held = self._held(under_lock=True)
            if self._is_new(registry_proto) and held.registry is not None:
                # Feast found no file and would begin with an empty one; another was first.
                registry_proto.CopyFrom(held.registry)
                self._issue(registry_proto)
                return
            try:
                self._refuse_stale(held, registry_proto)
                self._write(held, registry_proto)
            except BaseException:
                registry_proto.CopyFrom(held.registry or _empty())
                raise
            finally:
                self._dropped = set()
                self._issue(registry_proto)

    def teardown(self) -> None:
        """Remove the registry.

        Raises:
            HandshakeError: G2 when anything in it is published.
        """
        with self._mutex, locked(self._flock):
            held = self._held(under_lock=True)
            found = registry_breaches(self.lines(), held.published.entries, _in(held.registry), [])
            refuse(sorted(found), f"teardown of the registry {self.path.name}")
            super().teardown()

    @property
    def _flock(self) -> Path:
        return self.path.with_name(f"{self.path.name}.flock")

    @property
    def _next(self) -> Path:
        return self.path.with_name(f".{self.path.name}.next")

    @property
    def _record(self) -> Path:
        return published_file.published_path(self.path)

    def _is_new(self, registry: Any) -> bool:
        return not registry.version_id and not changed(_empty(), registry)

    def _issue(self, registry: Any) -> None:
        self._issued = (registry, canonical(registry))

    def _note_what_is_dropped(self) -> None:
        """Feast reads anew whenever its cache is old, even between a change and its commit."""
        if self._issued is None:
            return
        registry, before = self._issued
        if canonical(registry) != before:
            self._dropped |= changed(RegistryMessage.FromString(before), registry)

    def _refuse_stale(self, held: Held, registry: Any) -> None:
        stands = held.registry
        if registry.version_id != ("" if stands is None else stands.version_id):
            raise _stale(self.path, "another client has written it since this one read it")
        lost = self._dropped - changed(stands or _empty(), registry)
        if lost:
            names = ", ".join(sorted(f"{name} in {part}" for part, _, name in lost))
            raise _stale(self.path, f"it was read anew before these changes were written: {names}")

    def _write(self, held: Held, registry: Any) -> None:
        lines = self.lines()
        published, after = held.published, entries(registry)
        found = registry_breaches(lines, published.entries, _in(held.registry), after)
        # A view's own breach first: those of what it stands on follow from it.
        refuse(sorted(found), f"the registry {self.path.name}")
        added = newly_published(lines, published.entries, after)
        line, head = published_file.next_line(published, added) if added else (b"", published.head)
        written = RegistryMessage.FromString(registry.SerializeToString())
        written.version_id = f"{uuid.uuid4()}.{head}" if head else str(uuid.uuid4())
        written.last_updated.FromDatetime(datetime.now(UTC))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _write_through(self._next, written.SerializeToString())
        if added:
            published_file.append(self._record, published, line)
        self._swap()
        registry.version_id = written.version_id
        registry.last_updated.CopyFrom(written.last_updated)

    def _swap(self) -> None:
        self._next.replace(self.path)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _held(self, under_lock: bool = False) -> Held:
        """What is on the disk, sound; a write that was cut short is brought to its end."""
        try:
            return self._sound_on_disk()
        except HandshakeError:
            # A writer may have been between its two files, or have died there.
            with _held_lock(self._flock, under_lock):
                self._roll_forward()
                return self._sound_on_disk()

    def _sound_on_disk(self) -> Held:
        published = published_file.read(self._record)
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
            raise published_file.damaged(str(self._record), "lines at its end are gone")
        words = not_as_published(published.entries, entries(registry))
        if words:
            raise _altered(self.path, "; ".join(words))
        if head and head != published.head:
            raise _altered(self.path, "the file is an older copy")

    def _roll_forward(self) -> None:
        """Finish the write of a process that died between the two files."""
        try:
            waiting = RegistryMessage.FromString(self._next.read_bytes())
            head = published_file.read(self._record).head
        except (FileNotFoundError, DecodeError):
            return
        if head and waiting.version_id.partition(".")[2] == head:
            self._swap()


def restore(path: Path) -> list[str]:
    """Put every published object back into a registry file that lost or altered it.

    What else the file holds is kept as far as it can be read; the file as it was found is kept
    beside it as `<name>.found`.

    Args:
        path: The registry file, whether it is there or not.

    Returns:
        What was put back, in words; empty when all was as published.

    Raises:
        HandshakeError: G23 when the record of what it published is damaged.
    """
    with locked(path.with_name(f"{path.name}.flock")):
        published = published_file.read(published_file.published_path(path))
        registry = _empty()
        if path.exists():
            try:
                registry = RegistryMessage.FromString(path.read_bytes())
            except DecodeError:
                registry = _empty()
            _write_through(path.with_name(f"{path.name}.found"), path.read_bytes())
        words = not_as_published(published.entries, entries(registry))
        put_back(registry, published.entries)
        registry.version_id = f"{uuid.uuid4()}.{published.head}"
        waiting = path.with_name(f".{path.name}.next")
        _write_through(waiting, registry.SerializeToString())
        waiting.replace(path)
        return words


@contextmanager
def _held_lock(path: Path, under_lock: bool) -> Iterator[None]:
    if under_lock:
        yield
        return
    with locked(path):
        yield


def _in(registry: Any) -> list[Entry]:
    return [] if registry is None else entries(registry)


def _empty() -> Any:
    return RegistryMessage(registry_schema_version=SCHEMA_VERSION)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _stale(path: Path, found: str) -> HandshakeError:
    return HandshakeError(
        "G20",
        found=f"{found}; nothing was written",
        where=f"the registry {path.name}",
        mend="apply again: the registry has been read anew",
    )


def _altered(path: Path, found: str) -> HandshakeError:
    return HandshakeError(
        "G22",
        found=f"the registry file is not what it has published: {found}",
        where=str(path),
        mend="put it back from a backup, or together again from the record beside it: "
        f"python -m firnline.adapters.feast_guard.file_store {path}",
    )


def main(arguments: Sequence[str]) -> int:
    """Put published objects back into the registry files that are named."""
    for name in arguments:
        for words in restore(Path(name)) or ["all is as it was published"]:
            print(f"{name}: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
