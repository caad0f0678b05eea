"""A log that a commit can build on, whatever happened to the one on the disk."""

import shutil
from pathlib import Path

from firnline.adapters import feature_data_log as logs
from firnline.adapters.feature_data_log import Log
from firnline.adapters.feature_data_snapshots import manifests
from firnline.digest import file_digest
from firnline.errors import HandshakeError


def whole_log(home: Path) -> Log:
    """The log to commit to, whole and named by HEAD; the table's lock is held.

    Args:
        home: The table's folder.
    """
    log = logs.read_log(home)
    try:
        logs.trusted(home, log)
    except HandshakeError:
        return _restored(home, log)
    if not log.entries:
        return _restored(home, log)
    logs.point(home, log)
    return log


def _restored(home: Path, log: Log) -> Log:
    """The log with every revision that the snapshots name; a broken one is kept beside it.

    What the whole lines say stands. Revisions that only lost lines knew are counted anew, in the
    order in which their snapshots were written; their digests are what they were.
    """
    path = home / logs.LOG
    if log.broken:
        shutil.copyfile(path, path.with_name(f"{logs.LOG}.{file_digest(path)[:16]}.damaged"))
    known, added = log.revisions(), []
    records = manifests(home)
    for record in records.values():
        for part in record["parts"]:
            mine = known.setdefault(part["name"], {})
            if part["sha256"] not in mine:
                mine[part["sha256"]] = 1 + max(mine.values(), default=0)
                added.append((part["name"], mine[part["sha256"]], part["sha256"]))
    newest = _newest(home, log, list(records))
    if newest is None:
        return log
    log = logs.append(home, log, newest, records[newest]["view"], added)
    logs.point(home, log)
    return log


def _newest(home: Path, log: Log, whole: list[str]) -> str | None:
    """The snapshot that was the newest: what HEAD says, unless the log knows of later ones."""
    committed = [entry.snapshot for entry in log.entries]
    named = logs.head(home)
    if named in whole and named not in committed:
        return named
    candidates = [snapshot for snapshot in committed if snapshot in whole] or whole
    return candidates[-1] if candidates else None
