"""A store for Feast's file registry that loses no update and keeps what was published.

In feature_store.yaml, with the file that holds the published versions (`features.lock` beside it
unless `firnline_lock` names one or a list):

    registry:
      path: registry.db
      registry_store_type: firnline.adapters.feast_guard.file_store.FirnlineRegistryStore
      firnline_lock: features.lock

Feast reads the whole registry, changes it in memory and writes it back, so that of two clients
the later one wins. Here a write counts only if the file is still the one it was made from.
"""

import threading
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.infra.registry.registry import Registry

from firnline.adapters.feast_guard import precheck
from firnline.adapters.feast_guard.file_rules import (
    held_meanings,
    newly_published,
    registry_breaches,
)
from firnline.adapters.feast_guard.meaning import Meaning, meaning
from firnline.adapters.feast_guard.published_file import Published
from firnline.adapters.feast_guard.registry_disk import Held, RegistryDisk, empty_registry
from firnline.adapters.feast_guard.registry_objects import canonical, changed, entries, meanings
from firnline.adapters.feast_guard.rules import Key, Record, Rules, check_one, key_of
from firnline.adapters.lock_file import read_lock
from firnline.contracts.breach import refuse
from firnline.contracts.lock import joined
from firnline.errors import HandshakeError

_LOCK = "features.lock"
_MARK = "_firnline_looks_first"


class FirnlineRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast ships no types
    """Feast's file registry, written whole, by one at a time, and never against the lock."""

    def __init__(self, registry_config: Any, repo_path: Path | None) -> None:
        folder = Path(repo_path or ".")
        super().__init__(registry_config, folder)
        named = getattr(registry_config, "firnline_lock", None) or _LOCK
        names = [named] if isinstance(named, str) else list(named)
        self._locks = tuple(folder / name for name in names)
        self._disk = RegistryDisk(Path(self._filepath))
        self._where = f"the registry {self._disk.path.name}"
        self._mutex = threading.RLock()
        # What was read last, and its bytes then: Feast changes it in memory until it commits.
        self._issued: tuple[Any, bytes] | None = None
        self._dropped: set[tuple[str, str, str]] = set()
        precheck.install()
        _look_first()

    def published(self) -> Published:
        """What this registry has published.

        Raises:
            HandshakeError: G22 or G23, as reading the registry does.
        """
        with self._mutex:
            return self._disk.read().published

    def lines(self) -> Mapping[str, Record]:
        """Feast's name of every published version -> its line in the lock files.

        Raises:
            HandshakeError: An L-code when a lock file is not whole.
        """
        lock = joined({str(path): read_lock(path) for path in self._locks})
        return {line.table: Record(line.reference, line.digest, line.record) for line in lock}

    def state(self, project: str) -> tuple[Rules, dict[Key, Meaning]]:
        """The rules of a project, and what each of its objects means.

        Args:
            project: Feast's project.

        Raises:
            HandshakeError: As reading the registry or its lock files does.
        """
        with self._mutex:
            held = self._disk.read()
        now = meanings(held.entries)
        published = held_meanings(held.published.entries, now).get(project, {})
        return Rules(self.lines(), published), now.get(project, {})

    def refuse_view(self, view: Any, project: str) -> None:
        """Refuse a view that is not the published one, even where Feast would take no notice.

        Feast sees no change in another order of features, and would keep the old one in silence.

        Args:
            view: Feast's view of any kind.
            project: Feast's project.

        Raises:
            HandshakeError: G1 or G3.
        """
        rules, objects = self.state(project)
        wanted = meaning(view.to_proto())
        refuse(check_one(rules, key_of(wanted), wanted, objects), self._where)

    def get_registry_proto(self) -> Any:
        """The registry as it is on the disk, its published objects as they were published.

        Raises:
            FileNotFoundError: There is no registry yet; Feast then makes an empty one.
            HandshakeError: G22 when the file is gone, cut off, an older copy, or holds something
                else under a published name; G23 when the record of what it published is damaged.
        """
        with self._mutex:
            registry = self._disk.read().registry
            if registry is None:
                raise FileNotFoundError(f'no registry at {self._disk.path}; "feast apply" makes it')
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
            HandshakeError: G1 to G7 when a published object would change or go, G20 when the
                registry has moved on since it was read, an L-code when a lock file is not whole.
        """
        with self._mutex, self._disk.alone() as held:
            try:
                if held.registry is not None and _is_new(registry_proto):
                    # Feast found no file and would begin with an empty one; another was first.
                    registry_proto.CopyFrom(held.registry)
                    return
                self._refuse_stale(held, registry_proto)
                self._write(held, registry_proto)
            except BaseException:
                registry_proto.CopyFrom(held.whole)
                raise
            finally:
                self._dropped = set()
                self._issue(registry_proto)

    def teardown(self) -> None:
        """Remove the registry.

        Raises:
            HandshakeError: G2 when anything in it is published.
        """
        with self._mutex, self._disk.alone() as held:
            found = registry_breaches(self.lines(), held.published.entries, held.entries, [])
            refuse(sorted(found), f"teardown of {self._where}")
            super().teardown()

    def _issue(self, registry: Any) -> None:
        self._issued = (registry, canonical(registry))

    def _note_what_is_dropped(self) -> None:
        """Feast reads anew whenever its cache is old, even between a change and its commit."""
        if self._issued is None:
            return
        registry, before = self._issued
        if canonical(registry) != before:
            self._dropped |= changed(type(registry).FromString(before), registry)

    def _refuse_stale(self, held: Held, registry: Any) -> None:
        version = "" if held.registry is None else held.registry.version_id
        if registry.version_id != version:
            raise _stale(self._where, "another client has written it since this one read it")
        lost = self._dropped - changed(held.whole, registry) if self._dropped else set()
        if lost:
            names = ", ".join(sorted(f"{name} in {part}" for part, _, name in lost))
            raise _stale(
                self._where, f"it was read anew before these changes were written: {names}"
            )

    def _write(self, held: Held, registry: Any) -> None:
        lines, public, after = self.lines(), held.published.entries, entries(registry)
        found = registry_breaches(lines, public, held.entries, after)
        # A view's own breach first: those of what it stands on follow from it.
        refuse(sorted(found), self._where)
        added = newly_published(lines, public, after)
        written = self._disk.write(registry, held.published, added)
        registry.version_id = written.version_id
        registry.last_updated.CopyFrom(written.last_updated)


def _is_new(registry: Any) -> bool:
    return not registry.version_id and not changed(empty_registry(), registry)


def _stale(where: str, found: str) -> HandshakeError:
    return HandshakeError(
        "G20",
        found=f"{found}; nothing was written",
        where=where,
        mend="apply again: the registry has been read anew",
    )


def _look_first() -> None:
    """Have Feast's file registry ask the store before it applies a view; once a process."""
    original = Registry.apply_feature_view
    if hasattr(Registry, _MARK):
        return
    setattr(Registry, _MARK, True)

    @wraps(original)
    def apply_feature_view(
        self: Any, feature_view: Any, project: str, *args: Any, **named: Any
    ) -> Any:
        store = self._registry_store
        if isinstance(store, FirnlineRegistryStore):
            store.refuse_view(feature_view, project)
        return original(self, feature_view, project, *args, **named)

    Registry.apply_feature_view = apply_feature_view
