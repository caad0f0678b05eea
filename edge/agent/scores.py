"""The score log: what a device answered, kept for shadow evaluation until somebody takes it.

Records are numbered JSON lines; a gap is what a full disk cost. They gather in `open.jsonl`; at
its size that segment is closed and named `<number of its first record>-<sha256>.jsonl`, so who
takes it away knows that it is whole. The log is bounded: the oldest closed segment goes first, and
what went is counted. Losing power costs the records that were not written yet, and no other.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.agent.config import Scores
from edge.agent.score_records import line, parse
from edge.disk import Disk
from firnline.digest import file_digest
from firnline.errors import DeliveryError

FOLDER, LOCK = "scores", "service.lock"
"""Where the log lies in the agent's state, and the lock of who answers rows and writes it."""
_LOG = logging.getLogger("firnline.agent")
OPEN, COUNTS = "open.jsonl", "log.json"
_LONGEST = 1 << 16
_MOST_RECORDS = 10**12
"""Above any number that a segment's name can hold."""
_CLOSED = re.compile(r"([0-9]{12})-([0-9a-f]{64})\.jsonl")


@dataclass(frozen=True)
class Summary:
    """A score log in figures.

    Attributes:
        next: Number of the next record: how many there have been.
        segments: Closed segments that wait to be taken.
        bytes: Of all segments.
        dropped: Records that went because the log was full, or the disk.
    """

    next: int
    segments: int
    bytes: int
    dropped: int


class ScoreLog:
    """The log of one device; one process writes it.

    Args:
        folder: Of the segments.
        limits: Sizes and batches.
        disk: Where to.
        clock: Seconds that only grow, for the age of a batch.
    """

    def __init__(
        self,
        folder: Path,
        limits: Scores,
        disk: Disk,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._limits, self._disk, self._clock = folder, limits, disk, clock
        self._open = folder / OPEN
        counts = _counts(folder)
        self._dropped, self._next = counts.dropped, counts.next
        # A drop that was counted before the power went is finished, and not counted twice.
        if _CLOSED.fullmatch(counts.dropping):
            with suppress(OSError):
                disk.remove(folder / counts.dropping)
        self._waiting: list[bytes] = []
        self._since = 0.0
        self._counted, self._losing = self._dropped, False
        self._begin()
        self._resume()

    def _begin(self) -> None:
        """An open segment with nothing in it."""
        self._first: int = self._next
        self._length: int = 0
        self._hash = hashlib.sha256()
        self._requests: set[str] = set()

    def _resume(self) -> None:
        """Go on where the open segment ends; its torn end is cut off by the next batch."""
        for record, content in _whole_lines(self._open):
            self._first = self._first if self._length else record["n"]
            self._next = max(self._next, record["n"] + 1)
            self._hash.update(content)
            self._requests.add(str(record.get("request")))
            self._length += len(content)

    @property
    def summary(self) -> Summary:
        """The log in figures, with the records that wait to be written."""
        found = summary(self._folder)
        return Summary(self._next, found.segments, found.bytes, self._dropped)

    def add(self, record: Mapping[str, Any]) -> int | None:
        """Take a record; it is written with the next batch.

        Args:
            record: With `request`; a request that the open segment has is not taken again.

        Returns:
            Its number, or None where its request is there already.

        Raises:
            ValueError: A number in it is NaN or infinite.
        """
        request = str(record["request"])
        if request in self._requests:
            return None
        number = self._next
        content = line({**record, "n": number})
        self._since = self._since if self._waiting else self._clock()
        self._waiting.append(content)
        self._requests.add(request)
        self._next += 1
        self.tick()
        return number

    def tick(self) -> None:
        """Write the batch when it is full, or has waited long enough."""
        waited = self._clock() - self._since
        full = len(self._waiting) >= self._limits.batch_records
        if self._waiting and (full or waited >= self._limits.batch_seconds):
            self.flush()

    def flush(self) -> None:
        """Write what waits; a full disk costs old segments first, then these records."""
        content, count = b"".join(self._waiting), len(self._waiting)
        self._waiting = []
        if not content:
            return
        if self._append(content) or (self._drop_oldest() and self._append(content)):
            self._first = self._first if self._length else self._next - count
            self._hash.update(content)
            self._length += len(content)
            self._losing = False
        else:
            self._lost(count)
        # Who scores does not stop for a disk that cannot be written: the next batch tries again.
        with suppress(OSError):
            # The process may end before the next segment does.
            if self._dropped != self._counted:
                self._count()
            if self._length >= self._limits.segment_bytes:
                self.close_segment()
            while _size(self._folder) > self._limits.max_bytes and self._drop_oldest():
                pass

    def _lost(self, count: int) -> None:
        """Records could not be written."""
        self._dropped += count
        if not self._losing:
            _LOG.warning("answers that are not kept: %s cannot be written", self._folder)
        self._losing = True

    def close_segment(self) -> Path | None:
        """Close the open segment, so that it can be taken; None where it is empty.

        Raises:
            OSError: The disk cannot be written; the segment stays open.
        """
        self.flush()
        if not self._length:
            return None
        closed = self._folder / f"{self._first:012d}-{self._hash.hexdigest()}.jsonl"
        # The count goes first: numbers are never used twice, whatever is taken away meanwhile.
        self._count()
        try:
            self._disk.move(self._open, closed)
        finally:
            if not self._open.exists():
                self._begin()
        return closed

    def _append(self, content: bytes) -> bool:
        """Whether the bytes are in the open segment, right after the last whole record."""
        try:
            if self._open.is_file() and self._open.stat().st_size != self._length:
                self._disk.cut(self._open, self._length)
            self._disk.append(self._open, content)
        except OSError:
            return False
        return True

    def _drop_oldest(self) -> bool:
        """Whether a closed segment went, dropped or taken away this very moment."""
        oldest = next(iter(closed_segments(self._folder)), None)
        if oldest is None:
            return False
        before = self._dropped
        try:
            with suppress(FileNotFoundError), oldest.open("rb") as file:
                self._dropped += sum(1 for _ in file)
            # On a full disk the segment goes first, and the count is written with the next.
            with suppress(OSError):
                self._count(dropping=oldest.name)
            self._disk.remove(oldest)
        except OSError:
            self._dropped = before
            return False
        return True

    def _count(self, dropping: str = "") -> None:
        document = {"next": self._next, "dropped": self._dropped, "dropping": dropping}
        self._disk.write(self._folder / COUNTS, f"{json.dumps(document)}\n".encode())
        self._counted = self._dropped


def closed_segments(folder: Path) -> list[Path]:
    """Segments that can be taken away, oldest first."""
    return [path for path in _segments(folder) if path.name != OPEN]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a score log, oldest first.

    Args:
        path: The folder of a log, or one segment of it.

    Raises:
        DeliveryError: U34, a closed segment does not have the digest in its name.
        OSError: There is nothing to read.
    """
    for segment in _segments(path) if path.is_dir() else [path]:
        named = _CLOSED.fullmatch(segment.name)
        if named and file_digest(segment) != named[2]:
            raise DeliveryError(
                "U34",
                found="a segment of a score log that was changed, or is not whole",
                where=str(segment),
                mend="take it from the device again",
            )
        for record, _ in _whole_lines(segment):
            yield record


def summary(folder: Path) -> Summary:
    """A score log in figures, as it lies on the disk; safe beside the process that writes it."""
    counts, segments = _counts(folder), _segments(folder)
    last = max([counts.next, *(found["n"] + 1 for found, _ in _whole_lines(folder / OPEN))])
    return Summary(
        next=last,
        segments=len([path for path in segments if path.name != OPEN]),
        bytes=_size(folder),
        dropped=counts.dropped,
    )


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Records of a segment with their bytes, up to the first that is torn or out of order."""
    if not path.is_file():
        return
    after = 0
    with path.open("rb") as file:
        # A line is never longer than what may be asked for; garbage without an end is not read.
        while content := file.readline(_LONGEST):
            record = parse(content)
            if record is None or record["n"] < after:
                return
            after = record["n"] + 1
            yield record, content


def _segments(folder: Path) -> list[Path]:
    """Segments of a folder, the open one last."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name == OPEN or _CLOSED.fullmatch(path.name)
    )


def _size(folder: Path) -> int:
    """Bytes of all segments; one that is taken away meanwhile counts nothing."""
    size = 0
    for path in _segments(folder):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


@dataclass(frozen=True)
class _Counts:
    next: int = 0
    dropped: int = 0
    dropping: str = ""


def _counts(folder: Path) -> _Counts:
    """What log.json counts; without one, what the newest closed segment tells."""
    try:
        found = json.loads((folder / COUNTS).read_bytes())
        counted = found["next"], found["dropped"]
        if all(type(count) is int and 0 <= count < _MOST_RECORDS for count in counted):
            return _Counts(*counted, str(found.get("dropping", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    closed = closed_segments(folder)
    if not closed:
        return _Counts()
    last = [record["n"] + 1 for record, _ in _whole_lines(closed[-1])]
    return _Counts(max([int(closed[-1].name[:12]), *last]))
