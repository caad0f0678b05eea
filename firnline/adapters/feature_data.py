"""Data of published versions: it grows and is revised, and no byte that was read ever changes.

Under `<root>/<table>/` lie

    parts/date=2026-01-01/part-05.<sha>.parquet    partitions, read-only, named by their bytes
    snapshots/<digest>.json                        which partitions were the data at a time
    revisions.log                                  every commit and what it added, append-only
    HEAD                                           the newest snapshot, once more

A snapshot's digest is the sha256 of its manifest, which names the sha256 of every partition: who
holds the digest holds the bytes. A commit writes in the order above, so a kill at any point leaves
the data as it was before or as it is after; the next commit tidies up.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firnline.adapters import feature_data_log as logs
from firnline.adapters.artifact_store import locked, raise_if_full
from firnline.adapters.feature_data_log import Log
from firnline.adapters.feature_data_parts import (
    PARTS,
    Part,
    damage,
    describe,
    found_in,
    store,
    synced,
)
from firnline.adapters.feature_data_restore import whole_log
from firnline.adapters.feature_data_snapshots import SNAPSHOTS, Snapshot, load, save
from firnline.contracts.breach import refuse
from firnline.contracts.features import TIMESTAMP_COLUMN
from firnline.digest import file_digest, short
from firnline.errors import HandshakeError

__all__ = ["FeatureData", "Part", "Snapshot"]

_LOCK = ".lock"
_SCRATCH = ".partial"


@dataclass(frozen=True)
class FeatureData:
    """The data of every version of one state folder.

    Attributes:
        root: Folder with one folder a table.
    """

    root: Path

    def commit(
        self,
        table: str,
        view_digest: str,
        folder: Path,
        timestamp_column: str = TIMESTAMP_COLUMN,
        extend: bool = False,
    ) -> Snapshot:
        """Make a freshly computed folder the newest data of a version.

        A partition with bytes it has had before keeps their revision; other bytes are the next
        one. Damaged files of the partitions at hand are replaced. The same folder again changes
        nothing.

        Args:
            table: The version's table.
            view_digest: Digest of the version.
            folder: `date=YYYY-MM-DD/part-HH.parquet`, or any Parquet files; left as it is.
            timestamp_column: Column a row counts from.
            extend: Keep the newest partitions that the folder lacks.

        Raises:
            HandshakeError: P4 when `extend` meets a damaged manifest, P6 when the table holds
                another version's data, P7 when the folder has no fit partition.
            ContractError: C09, the disk is full.
        """
        home = self.root / table
        with locked(home / _LOCK):
            _tidy(home)
            log = whole_log(home)
            _same_version(home, log, view_digest)
            try:
                return self._commit(home, log, view_digest, folder, timestamp_column, extend)
            except OSError as error:
                raise_if_full(error, home / SNAPSHOTS)
                raise
            finally:
                _tidy(home)

    def snapshot(self, table: str, digest: str) -> Snapshot:
        """A snapshot by its digest, old or new.

        Raises:
            HandshakeError: P4 when its manifest is missing or edited, P5 when the log is.
        """
        home = self.root / table
        return load(home, digest, self._log(home).revisions())

    def head(self, table: str) -> Snapshot | None:
        """The newest snapshot, or None where nothing was committed.

        Raises:
            HandshakeError: P4 when its manifest is missing or edited, P5 when the log or HEAD is.
        """
        home = self.root / table
        log = self._log(home)
        return load(home, log.newest.snapshot, log.revisions()) if log.newest else None

    def files(
        self,
        snapshot: Snapshot,
        first: int | None = None,
        last: int | None = None,
        verify: bool = True,
    ) -> list[Path]:
        """The files of the partitions in which a time span can have rows, in order.

        Args:
            snapshot: What `head`, `snapshot` or `commit` gave.
            first: Epoch microseconds, inclusive; None for no bound.
            last: Epoch microseconds, inclusive; None for no bound.
            verify: Compare every file's bytes with its digest first.

        Raises:
            HandshakeError: P1 a partition is missing, P2 cut off, P3 overwritten or swapped; all
                of them are told at once.
        """
        home = self.root / snapshot.table
        parts = [part for part in snapshot.parts if part.meets(first, last)]
        if verify:
            found = (damage(home, part, snapshot.parts) for part in parts)
            refuse([breach for breach in found if breach], f"reading {snapshot.table}")
        return [home / part.file for part in parts]

    def _log(self, home: Path) -> Log:
        try:
            return logs.trusted(home, logs.read_log(home))
        except HandshakeError:
            # Two commits may have passed between reading the log and reading HEAD.
            with locked(home / _LOCK):
                return logs.trusted(home, logs.read_log(home))

    def _commit(
        self, home: Path, log: Log, view: str, folder: Path, column: str, extend: bool
    ) -> Snapshot:
        newest = _newest(home, log, required=extend)
        before = {part.name: part for part in newest.parts} if newest else {}
        fresh = _stored(home, log.revisions(), before, folder, column)
        snapshot = save(home, view, before | fresh if extend else fresh)
        if log.newest is None or log.newest.snapshot != snapshot.digest:
            held = [(part.name, part.revision, part.sha256) for part in snapshot.parts]
            log = logs.append(home, log, snapshot.digest, view, held)
        logs.point(home, log)
        return snapshot


def _stored(
    home: Path,
    revisions: Mapping[str, Mapping[str, int]],
    before: Mapping[str, Part],
    folder: Path,
    column: str,
) -> dict[str, Part]:
    """The partitions of a computed folder, whole and on the disk in the table's folder."""
    files, parts = found_in(folder), {}
    if not files:
        raise _empty(folder)
    places: set[Path] = set()
    for name, file in files.items():
        sha256 = file_digest(file)
        part = before.get(name)
        if part is None or part.sha256 != sha256:
            known = revisions.get(name, {})
            revision = known.get(sha256) or 1 + max(known.values(), default=0)
            part = describe(name, revision, sha256, file, column)
        if store(part, file, home, home / _SCRATCH):
            places |= {(home / part.file).parent, home / PARTS, home}
        parts[name] = part
    for place in places:
        synced(place)
    return parts


def _newest(home: Path, log: Log, *, required: bool) -> Snapshot | None:
    """The newest snapshot; a damaged manifest only matters to a commit that builds on it."""
    if log.newest is None:
        return None
    try:
        return load(home, log.newest.snapshot, log.revisions())
    except HandshakeError:
        if required:
            raise
        return None


def _tidy(home: Path) -> None:
    """Remove what a commit, or one that was killed, did not finish."""
    shutil.rmtree(home / _SCRATCH, ignore_errors=True)
    for folder in (home, home / SNAPSHOTS):
        for partial in folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)


def _same_version(home: Path, log: Log, view: str) -> None:
    if log.newest and log.newest.view != view:
        raise HandshakeError(
            "P6",
            found=f"the data is of #{short(log.newest.view)}, the view is now #{short(view)}",
            where=f"data of {home.name}",
            mend="give the changed view its next version; while the version is not published, "
            f"its data may be removed instead: rm -r {home}",
        )


def _empty(folder: Path) -> HandshakeError:
    return HandshakeError(
        "P7",
        found="there is not one partition",
        where=str(folder),
        mend="compute the view first; a view without a window has no data",
    )
