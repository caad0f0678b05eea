"""What a channel's web server hands out: which paths, which bytes, and how long they hold.

A path is taken as it was sent: names in a channel need no percent-encoding, so what carries one,
a dot at its beginning, or an empty segment names nothing here.
"""

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from os import stat_result
from pathlib import Path
from stat import S_ISREG

from edge.disk import PARTIAL
from firnline.contracts.places import METADATA, PARTS, TARGETS

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"/(?:{METADATA}|{TARGETS}|{PARTS})(?:/{_SEGMENT}){{1,6}}")
_NUMBERED = re.compile(rf"/{METADATA}/[0-9]+\.")
_HASHED = re.compile(r"/[0-9a-f]{64}(?:\.|$)")
HOT_FILE_BYTES = 64 * 1024
"""Files up to this size are answered from memory."""
HOT_BYTES = 32 * 1024 * 1024
"""What is kept in memory, all together."""


@dataclass(frozen=True)
class Found:
    """A file that may be handed out.

    Attributes:
        path: The file.
        etag: Its entity tag, without quotes; empty where `body` is None.
        body: Its bytes; None where it is too large to keep in memory.
        immutable: Whether other bytes can never appear under this path.
    """

    path: Path
    etag: str
    body: bytes | None
    immutable: bool


class PublicFiles:
    """The files of a channel's public folder, small ones in memory for as long as they stand.

    A file is taken from memory only while its inode, size and times are those that were read, so
    a timestamp that is renamed into place is seen by the next request.

    Args:
        root: The public folder.
        hot_bytes: What is kept in memory; what was asked for least recently goes first.
    """

    def __init__(self, root: Path, hot_bytes: int = HOT_BYTES) -> None:
        self._root = root.resolve()
        self._room = hot_bytes
        self._hot: OrderedDict[str, tuple[tuple[int, ...], Found]] = OrderedDict()

    def find(self, sent: str) -> Found | None:
        """The file that a request names.

        Args:
            sent: The request's target as it was sent, with its query.

        Returns:
            None where it names no file of the channel: nothing there, a folder, a hidden or a
            half-written file, or a link that leaves the folder.
        """
        name = sent.partition("?")[0]
        if not _PATH.fullmatch(name) or name.endswith(PARTIAL):
            return None
        path = self._root / name[1:]
        try:
            state = path.stat()
            if not S_ISREG(state.st_mode):
                return None
            kept = self._hot.get(name)
            if kept is not None and kept[0] == _mark(state):
                self._hot.move_to_end(name)
                return kept[1]
            return self._read(name, path, state)
        except OSError:
            return None

    def _read(self, name: str, path: Path, state: stat_result) -> Found | None:
        """The file from the disk; kept in memory when it is small."""
        self._forget(name)
        if not path.resolve(strict=True).is_relative_to(self._root):
            return None
        immutable = bool(_NUMBERED.match(name) or _HASHED.search(name))
        if state.st_size > HOT_FILE_BYTES:
            return Found(path, "", None, immutable)
        body = path.read_bytes()
        found = Found(path, hashlib.sha256(body).hexdigest()[:16], body, immutable)
        # A file that was replaced between the two looks is kept under no mark.
        if _mark(path.stat()) == _mark(state):
            self._hot[name] = (_mark(state), found)
            self._room -= len(body)
            while self._room < 0:
                self._forget(next(iter(self._hot)))
        return found

    def _forget(self, name: str) -> None:
        kept = self._hot.pop(name, None)
        if kept is not None:
            self._room += len(kept[1].body or b"")


def _mark(state: stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
