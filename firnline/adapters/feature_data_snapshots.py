"""A snapshot: the partitions a version's data had at one time, in a manifest named by its bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.adapters.artifact_store import write_atomically
from firnline.adapters.feature_data_parts import MEND, Part, sha256_of, synced
from firnline.digest import bytes_digest, canonical_json
from firnline.errors import HandshakeError

SNAPSHOTS = "snapshots"
# A revision is where a partition's bytes stand in one store's history, not what they are.
_MEANT = ("name", "sha256", "bytes", "rows", "first", "last")


@dataclass(frozen=True)
class Snapshot:
    """The data of a version at one time.

    Attributes:
        table: The version's table, `device_window_v1`.
        view: Digest of the version.
        digest: sha256 of the manifest: the same on every machine that holds the same bytes.
        parts: Its partitions in the order of their names, which is that of time.
    """

    table: str
    view: str
    digest: str
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows in all its partitions."""
        return sum(part.rows for part in self.parts)


def save(home: Path, view: str, parts: Mapping[str, Part]) -> Snapshot:
    """Write the manifest of some partitions, unless it is there and whole.

    Args:
        home: The table's folder.
        view: Digest of the version.
        parts: Partition name -> partition.
    """
    ordered = tuple(parts[name] for name in sorted(parts))
    text = canonical_json(
        {
            "table": home.name,
            "view": view,
            "parts": [{field: getattr(part, field) for field in _MEANT} for part in ordered],
        }
    )
    digest = bytes_digest(text.encode())
    path = _path(home, digest)
    if sha256_of(path) != digest:
        write_atomically(path, text)
        synced(path)
        synced(path.parent)
    return Snapshot(home.name, view, digest, ordered)


def load(home: Path, digest: str, revisions: Mapping[str, Mapping[str, int]]) -> Snapshot:
    """Read a manifest.

    Args:
        home: The table's folder.
        digest: The snapshot's.
        revisions: Partition name -> sha256 -> revision, from the table's log.

    Raises:
        HandshakeError: P4 when the manifest is missing or edited, or is of no commit.
    """
    path = _path(home, digest)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise _refused(home, digest, "there is no such manifest") from error
    if bytes_digest(content) != digest:
        raise _refused(home, digest, "the manifest is not what was committed")
    record: dict[str, Any] = json.loads(content)
    parts = []
    for item in record["parts"]:
        revision = revisions.get(item["name"], {}).get(item["sha256"])
        if revision is None:
            raise _refused(home, digest, f"the log has no such revision of {item['name']}")
        parts.append(Part(revision=revision, **item))
    return Snapshot(record["table"], record["view"], digest, tuple(parts))


def manifests(home: Path) -> dict[str, dict[str, Any]]:
    """Digest -> record of every manifest that is what was committed, in the order of writing."""
    paths = (home / SNAPSHOTS).glob("*.json")
    ordered = sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))
    contents = {path.stem: path.read_bytes() for path in ordered}
    return {
        digest: json.loads(content)
        for digest, content in contents.items()
        if bytes_digest(content) == digest
    }


def _path(home: Path, digest: str) -> Path:
    return home / SNAPSHOTS / f"{digest}.json"


def _refused(home: Path, digest: str, found: str) -> HandshakeError:
    where = f"{home.name}, snapshot {digest[:16]}"
    return HandshakeError("P4", found=found, where=where, mend=MEND)
