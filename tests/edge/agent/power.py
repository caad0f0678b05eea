"""Power cuts: a disk that records what is done to it, and what a real one may show after a cut.

What `edge.disk.Disk` promises is durable once it returns; the operation in flight may be there in
part, and bytes appended without a sync may be lost or garbled though they were written long ago.
What is written past the Disk (the metadata cache of tuf) may be torn anywhere, or be whole and old,
until the Disk is told to sync it.
"""

import random
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.disk import PARTIAL, RealDisk


@dataclass(frozen=True)
class Operation:
    """One change of files.

    Attributes:
        kind: The method of Disk.
        path: What it changes, relative to the folder that is watched.
        other: The new name, for a move or a link.
        content: What is written or appended.
        synced: Whether an append is durable.
        length: What a cut leaves.
        files: What lay in a folder when it was synced.
    """

    kind: str
    path: Path
    other: Path | None = None
    content: bytes = b""
    synced: bool = True
    length: int = 0
    files: Mapping[Path, bytes | Path] = field(default_factory=dict)


class Recorder(RealDisk):
    """The disk of this machine, and a record of every change under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nested = 0
        self.trace: list[Operation] = []

    def write(self, path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        whole = content if isinstance(content, bytes) else b"".join(content)
        self._note("write", path, content=whole)
        self._quiet(lambda: RealDisk.write(self, path, whole, mode))

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        self._note("append", path, content=content, synced=sync)
        self._quiet(lambda: RealDisk.append(self, path, content, sync=sync))

    def cut(self, path: Path, length: int) -> None:
        self._note("cut", path, length=length)
        super().cut(path, length)

    def move(self, old: Path, new: Path) -> None:
        self._note("move", old, new)
        self._quiet(lambda: RealDisk.move(self, old, new))

    def link(self, old: Path, new: Path) -> None:
        self._note("link", old, new)
        self._quiet(lambda: RealDisk.link(self, old, new))

    def folder(self, path: Path) -> None:
        if not path.is_dir():
            self._note("folder", path)
        self._quiet(lambda: RealDisk.folder(self, path))

    def remove(self, path: Path) -> None:
        if path.exists() or path.is_symlink():
            self._note("remove", path)
        super().remove(path)

    def sync(self, folder: Path) -> None:
        self._note("sync", folder, files=contents(folder))
        super().sync(folder)

    def _quiet(self, act) -> None:
        """What an operation does by further ones is part of it."""
        self._nested += 1
        try:
            act()
        finally:
            self._nested -= 1

    def _note(self, kind: str, path: Path, other: Path | None = None, **told) -> None:
        if not self._nested:
            within = None if other is None else other.relative_to(self._folder)
            self.trace.append(Operation(kind, path.relative_to(self._folder), within, **told))


class After:
    """A folder as it may be found after a power cut, rebuilt from a trace.

    Args:
        start: The folder before the first operation of the trace; it is copied.
        folder: Where to rebuild it.
    """

    def __init__(self, start: Path, folder: Path) -> None:
        shutil.copytree(start, folder, symlinks=True)
        self.folder = folder
        self._durable: dict[Path, int] = {}
        self._synced: set[Path] = set()

    def play(self, trace: Iterable[Operation]) -> None:
        """Operations that ended before the power went."""
        for operation in trace:
            self._apply(operation)

    def cut(self, operation: Operation | None, draw: random.Random) -> None:
        """The power goes, in the middle of an operation or between two."""
        if operation is not None:
            getattr(self, f"_cut_{operation.kind}", self._either)(operation, draw)
        for path, length in self._durable.items():
            if path.is_file() and path.stat().st_size > length:
                _garble(path, length, draw)

    def tear(self, folder: str, latest: Path, draw: random.Random) -> None:
        """What was written past the Disk and not synced: each file old, new, torn or lost.

        Args:
            folder: Its name in the folder.
            latest: The same folder as it was at the end.
            draw: What draws.
        """
        for path in sorted(latest.rglob("*")):
            mine = self.folder / folder / path.relative_to(latest)
            chance = draw.random()
            if path.is_dir() or chance < 0.3 or mine in self._synced:
                continue
            mine.parent.mkdir(parents=True, exist_ok=True)
            if chance < 0.6:
                mine.unlink(missing_ok=True)
                shutil.copy(path, mine, follow_symlinks=False)
            elif chance < 0.8:
                mine.unlink(missing_ok=True)
            elif mine.is_file() and not mine.is_symlink():
                _garble(mine, draw.randrange(mine.stat().st_size + 1), draw)

    def _apply(self, operation: Operation) -> None:
        path = self.folder / operation.path
        other = None if operation.other is None else self.folder / operation.other
        match operation.kind:
            case "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(operation.content)
                self._durable.pop(path, None)
            case "append":
                self._append(path, operation.content)
                if operation.synced:
                    self._durable.pop(path, None)
                else:
                    before = path.stat().st_size - len(operation.content)
                    self._durable.setdefault(path, before)
            case "cut":
                with path.open("r+b") as file:
                    file.truncate(operation.length)
                self._durable.pop(path, None)
            case "move":
                other.parent.mkdir(parents=True, exist_ok=True)
                path.replace(other)
                if path in self._durable:
                    self._durable[other] = self._durable.pop(path)
            case "link":
                other.parent.mkdir(parents=True, exist_ok=True)
                other.unlink(missing_ok=True)
                other.hardlink_to(path)
            case "folder":
                path.mkdir(parents=True, exist_ok=True)
            case "remove":
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            case "sync":
                self._sync(path, operation.files)

    def _sync(self, folder: Path, files: Mapping[Path, bytes | Path]) -> None:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
            self._synced.add(path)

    def _append(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)

    def _either(self, operation: Operation, draw: random.Random) -> None:
        """What a file system does whole or not at all: names, links and lengths."""
        if draw.random() < 0.5:
            self._apply(operation)

    def _cut_write(self, operation: Operation, draw: random.Random) -> None:
        """Nothing yet, a temporary file with any part of the bytes, or the whole new file."""
        path = self.folder / operation.path
        chance = draw.random()
        if chance < 0.2:
            self._apply(operation)
        elif chance < 0.9:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{draw.randrange(2, 99999)}{PARTIAL}")
            partial.write_bytes(operation.content)
            _garble(partial, draw.randrange(len(operation.content) + 1), draw)

    def _cut_append(self, operation: Operation, draw: random.Random) -> None:
        path = self.folder / operation.path
        before = path.stat().st_size if path.is_file() else 0
        self._append(path, operation.content)
        self._durable.setdefault(path, before)

    def _cut_remove(self, operation: Operation, draw: random.Random) -> None:
        """Any part of a folder gone."""
        path = self.folder / operation.path
        if not path.is_dir():
            return self._either(operation, draw)
        for within in sorted(path.rglob("*"), reverse=True):
            if draw.random() < 0.5:
                within.unlink() if not within.is_dir() else None
        return None


def contents(folder: Path) -> dict[Path, bytes | Path]:
    """Every file of a folder: its bytes, or where it leads to."""
    return {
        path.relative_to(folder): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _garble(path: Path, length: int, draw: random.Random) -> None:
    """Bytes past a length lost, or found as zeros or as anything."""
    whole = path.read_bytes()
    kept = draw.randint(length, len(whole)) if len(whole) > length else length
    tail = draw.randrange(len(whole) - kept + 1) if len(whole) > kept else 0
    filler = bytes(tail) if draw.random() < 0.5 else draw.randbytes(tail)
    path.write_bytes(whole[:kept] + filler)
