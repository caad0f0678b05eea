"""Where a Feast source's rows lie: plain Parquet files, or a published version's partitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firnline.adapters.feast_offline.times import EARLIEST, LATEST
from firnline.contracts.features import DATA_SCHEME
from firnline.errors import HandshakeError

if TYPE_CHECKING:
    from firnline.adapters.feature_data import Snapshot

_GLOB_SIGNS = "*?["


@dataclass(frozen=True)
class Place:
    """What a path of a source is resolved against.

    Attributes:
        repository: Folder of feature_store.yaml; relative paths start here.
        data: Root of the published partitions, or None where none is configured.
        snapshots: Table -> snapshot digest to read; the newest where a table is not named.
        verify: Whether partitions' bytes are compared with their digests before they are read.
    """

    repository: Path
    data: Path | None
    snapshots: Mapping[str, str] = field(default_factory=dict)
    verify: bool = True


@dataclass(frozen=True)
class Source:
    """A source, pinned: what it reads no longer depends on when it is read.

    Attributes:
        name: The source's path as its definition gives it.
        place: What it was resolved against.
        snapshot: The published table's snapshot; None for plain files.
    """

    name: str
    place: Place
    snapshot: "Snapshot | None"


def resolve(source: Any, place: Place) -> Source:
    """Pin a Feast source.

    Args:
        source: A Feast data source.
        place: What its path is resolved against.

    Raises:
        HandshakeError: O1 when it is no Parquet file source on this machine, O2 when it is a
            published version whose data is not there; a P-code when its snapshot is damaged.
    """
    path = path_of(source)
    if not path.startswith(DATA_SCHEME):
        return Source(path, place, None)
    return Source(path, place, _snapshot(path.removeprefix(DATA_SCHEME), place))


def is_published(source: Any) -> bool:
    """Whether a source is a published version's data."""
    return str(getattr(source, "path", "")).startswith(DATA_SCHEME)


def files(source: Source, between: tuple[int, int] | None = None) -> list[Path]:
    """The Parquet files that can hold rows of interest, oldest first.

    Args:
        source: The source.
        between: First and last nanosecond of interest; None for all.

    Returns:
        Files in the order in which their rows count; none where no partition meets the times.

    Raises:
        HandshakeError: O1 when there are no files; a P-code when a partition is not what its
            manifest says.
    """
    if source.snapshot is not None:
        return _partitions(source, between)
    path = local_path(source.name, source.place.repository)
    if path.is_dir():
        found = sorted(path.rglob("*.parquet"))
    elif any(sign in source.name for sign in _GLOB_SIGNS):
        # A pattern starts at the first folder without a sign.
        fixed = next(item for item in path.parents if not any(s in str(item) for s in _GLOB_SIGNS))
        found = sorted(item for item in fixed.glob(str(path.relative_to(fixed))) if item.is_file())
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise HandshakeError(
            "O1",
            found="there is no Parquet file",
            where=str(path),
            mend="write the source's data, or correct its path; a relative one starts at the "
            "folder of feature_store.yaml",
        )
    return found


def any_file(source: Source) -> Path:
    """One file of a source, which tells its columns.

    Raises:
        HandshakeError: O1 or O2 when there is none; a P-code when it is damaged.
    """
    if source.snapshot is None:
        return files(source)[0]
    if not source.snapshot.parts:
        raise _no_data(source.snapshot.table, source.place)
    first = source.snapshot.parts[0].first * 1_000
    return _partitions(source, (first, first))[0]


def local_path(path: str, repository: Path) -> Path:
    """A source's path on this machine; a relative one starts at the repository."""
    return repository / path.removeprefix("file://")


def path_of(source: Any) -> str:
    """The path of a Parquet file source.

    Raises:
        HandshakeError: O1 when it is another kind, another format, or not on this machine.
    """
    kind = type(source).__name__
    path = str(getattr(source, "path", ""))
    style = type(getattr(source, "file_format", None)).__name__
    remote = "://" in path and not path.startswith((DATA_SCHEME, "file://"))
    if kind == "FileSource" and style in {"NoneType", "ParquetFormat"} and not remote:
        return path
    raise HandshakeError(
        "O1",
        found=f"{kind} {path!r}" + (f" in {style}" if style != "NoneType" else ""),
        where=f"source {getattr(source, 'name', '')!r}",
        mend=f"use a FileSource of Parquet files on this machine, or {DATA_SCHEME}<table>",
    )


def _snapshot(table: str, place: Place) -> "Snapshot":
    from firnline.adapters.feature_data import FeatureData

    if place.data is None:
        raise HandshakeError(
            "O2",
            found=f"{DATA_SCHEME}{table}, and no folder of published data",
            where="offline_store of feature_store.yaml",
            mend="set `data` to the folder that holds the published partitions",
        )
    data = FeatureData(place.data)
    wanted = place.snapshots.get(table)
    found = data.head(table) if wanted is None else data.snapshot(table, wanted)
    if found is None:
        raise _no_data(table, place)
    return found


def _no_data(table: str, place: Place) -> HandshakeError:
    return HandshakeError(
        "O2",
        found=f"{table} has no data yet",
        where=str(place.data),
        mend="run the features step for the ensemble that defines it",
    )


def _partitions(source: Source, between: tuple[int, int] | None) -> list[Path]:
    from firnline.adapters.feature_data import FeatureData

    if source.snapshot is None or source.place.data is None:
        return []
    first = last = None
    if between is not None:
        # Partitions know microseconds: outwards, so that none is left out.
        first = None if between[0] == EARLIEST else between[0] // 1_000
        last = None if between[1] == LATEST else -(-between[1] // 1_000)
    return FeatureData(source.place.data).files(
        source.snapshot, first, last, verify=source.place.verify
    )
