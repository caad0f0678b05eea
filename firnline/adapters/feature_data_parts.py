"""One partition of a version's data: named by its bytes, stored once, checked before it is read."""

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from firnline.contracts.breach import Breach
from firnline.digest import file_digest
from firnline.errors import HandshakeError

PARTS = "parts"
MEND = (
    "run the step that wrote it again: it computes the same bytes and puts them back; an older "
    "revision needs its readings back first (dvc checkout)"
)
_READ_ONLY = 0o444
# Clocks of file systems tick: a file younger than this could change unseen after it was read.
_SETTLED_NS = 2_000_000_000

_State = tuple[int, int, int, int, int]
_known: dict[Path, tuple[_State, str]] = {}


@dataclass(frozen=True)
class Part:
    """One partition as a snapshot holds it.

    Attributes:
        name: `date=2026-01-01/part-05`.
        revision: Counts up from 1 with every other content the partition has had.
        sha256: Of the file's bytes.
        bytes: Length of the file.
        rows: Rows in it.
        first: Earliest of its timestamps, epoch microseconds.
        last: Latest of its timestamps, epoch microseconds, inclusive.
    """

    name: str
    revision: int
    sha256: str
    bytes: int
    rows: int
    first: int
    last: int

    @property
    def file(self) -> str:
        """Path of its bytes, relative to the table's folder."""
        return f"{PARTS}/{self.name}.{self.sha256[:16]}.parquet"

    def meets(self, first: int | None, last: int | None) -> bool:
        """Whether a row of it can lie in `[first, last]`; None is no bound."""
        return (last is None or self.first <= last) and (first is None or self.last >= first)


def found_in(folder: Path) -> dict[str, Path]:
    """Partition name -> file, in order, of a freshly computed folder."""
    files = (path for path in folder.rglob("*.parquet") if not path.name.startswith("."))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(files)}


def describe(name: str, revision: int, sha256: str, file: Path, column: str) -> Part:
    """Read from a Parquet file what a snapshot says of it.

    Args:
        name: The partition's name.
        revision: The revision it has, or gets.
        sha256: Of its bytes.
        file: The file.
        column: Its timestamp column.

    Raises:
        HandshakeError: P7 when it is no Parquet file, or lacks the column or its values.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        times = pq.ParquetFile(file).read(columns=[column], use_threads=False)[column]
        micros = times.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    except (pa.ArrowException, KeyError, OSError) as error:
        raise _unfit(file, str(error).splitlines()[0]) from error
    if micros.null_count or not len(micros):
        raise _unfit(file, f"{micros.null_count} of its {len(micros)} rows have no {column}")
    bounds = pc.min_max(micros)
    size = file.stat().st_size
    return Part(
        name, revision, sha256, size, len(micros), bounds["min"].as_py(), bounds["max"].as_py()
    )


def store(part: Part, source: Path, table: Path, scratch: Path) -> bool:
    """Put a partition's bytes in their place, unless they are there and whole.

    The bytes are copied, not linked: what happens to the computed folder later cannot reach them.

    Args:
        part: The partition.
        source: A file with its bytes.
        table: The table's folder.
        scratch: Folder on the same disk for what is not yet whole.

    Returns:
        Whether a file was put there; its bytes are on the disk then, its name may not be.

    Raises:
        HandshakeError: P7 when the source changed while it was copied.
    """
    target = table / part.file
    if sha256_of(target) == part.sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    partial = scratch / part.sha256
    shutil.copyfile(source, partial)
    if file_digest(partial) != part.sha256:
        raise _unfit(source, "it changed while it was copied")
    partial.chmod(_READ_ONLY)
    synced(partial)
    partial.replace(target)
    return True


def damage(table: Path, part: Part, others: Iterable[Part]) -> Breach | None:
    """What is wrong with a partition's bytes, if anything.

    Args:
        table: The table's folder.
        part: The partition.
        others: Partitions whose bytes may lie in its place.
    """
    file = table / part.file
    sha256 = sha256_of(file)
    if sha256 == part.sha256:
        return None
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return _breach("P1", table, part, "the file is missing")
    swapped = next((other for other in others if other.sha256 == sha256), None)
    if swapped:
        told = f"it holds the bytes of {swapped.name} revision {swapped.revision}"
        return _breach("P3", table, part, told)
    if size < part.bytes:
        return _breach("P2", table, part, f"{size} of {part.bytes} bytes are left")
    digits = "unreadable" if sha256 is None else f"sha256 {sha256[:16]}"
    return _breach("P3", table, part, f"its bytes are {digits}, committed was {part.sha256[:16]}")


def sha256_of(file: Path) -> str | None:
    """sha256 of a file's bytes, or None where there is no readable file.

    A process reads a file again only after its device, inode, length, or times of content or
    inode have changed; the last of these no program can set.
    """
    try:
        found = file.stat()
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = _known.get(file)
        if known and known[0] == state:
            return known[1]
        begun = time.time_ns()
        sha256 = file_digest(file)
    except OSError:
        return None
    if begun - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NS:
        _known[file] = (state, sha256)
    return sha256


def synced(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _breach(code: str, table: Path, part: Part, found: str) -> Breach:
    return Breach(code, found, f"{table.name}, {part.name} revision {part.revision}", MEND)


def _unfit(file: Path, found: str) -> HandshakeError:
    return HandshakeError(
        "P7",
        found=found,
        where=str(file),
        mend="compute the folder again; every partition is a Parquet file with its timestamps",
    )
