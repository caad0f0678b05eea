"""Every change that channel and device make on disk, so that a test can cut the power anywhere.

The one rule: a file appears whole under its name, or not at all. Content is written to a
temporary name, synced, renamed, and the folder is synced; who reads after a power cut sees the
file before or the file after.
"""

import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

PARTIAL = ".partial"


class Disk(Protocol):
    """Changes of files. What returns is on the disk, power cut or not, unless it says otherwise."""

    def write(self, path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """A file, whole or not at all; folders above it are made."""
        ...

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        """Bytes at a file's end; a power cut may leave any part of them.

        Without `sync` they may be lost after this returns.
        """
        ...

    def cut(self, path: Path, length: int) -> None:
        """A file shortened to so many bytes."""
        ...

    def move(self, old: Path, new: Path) -> None:
        """A file or folder under another name, on the same file system; replaces a file."""
        ...

    def link(self, old: Path, new: Path) -> None:
        """The same file under a second name; a copy where the file system has no links."""
        ...

    def folder(self, path: Path) -> None:
        """A folder and those above it; one that is there stays."""
        ...

    def remove(self, path: Path) -> None:
        """A file or a folder with all in it gone; nothing there is fine."""
        ...

    def sync(self, folder: Path) -> None:
        """A folder with all in it that others wrote: from here on it is on the disk."""
        ...


class RealDisk:
    """The disk of this machine."""

    def write(self, path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """A file, whole or not at all."""
        self.folder(path.parent)
        partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in (content,) if isinstance(content, bytes) else content:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        """Bytes at a file's end."""
        self.folder(path.parent)
        new = not path.exists()
        with open(path, "ab", opener=partial(os.open, mode=0o644)) as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if new and sync:
            _sync(path.parent)

    def cut(self, path: Path, length: int) -> None:
        """A file shortened to so many bytes."""
        with path.open("r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())

    def move(self, old: Path, new: Path) -> None:
        """A file or folder under another name."""
        self.folder(new.parent)
        old.replace(new)
        _sync(new.parent)
        if old.parent != new.parent:
            _sync(old.parent)

    def link(self, old: Path, new: Path) -> None:
        """The same file under a second name."""
        self.folder(new.parent)
        new.unlink(missing_ok=True)
        try:
            new.hardlink_to(old)
            _sync(new.parent)
        except OSError:
            with old.open("rb") as file:
                self.write(new, iter(lambda: file.read(1 << 20), b""))

    def folder(self, path: Path) -> None:
        """A folder and those above it."""
        if path.is_dir():
            return
        self.folder(path.parent)
        path.mkdir(0o755, exist_ok=True)
        _sync(path.parent)

    def remove(self, path: Path) -> None:
        """A file or a folder with all in it gone."""
        if not (path.exists() or path.is_symlink()):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        _sync(path.parent)

    def sync(self, folder: Path) -> None:
        """A folder with all in it; what the kernel has written already costs nothing."""
        for path in (*folder.rglob("*"), folder):
            if not path.is_symlink():
                _sync(path)


def _sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
