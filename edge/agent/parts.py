"""Files of releases, kept by their content: what is there once is never fetched again.

A part is written beside its place and takes its name when its digest is right. A download that
broke off goes on where it stopped; what a power cut left of it is read again first.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.agent.connection import CHUNK
from edge.agent.fetch import Fetcher, arbitrary
from edge.agent.space import room, unwritable
from edge.disk import PARTIAL, Disk
from firnline.contracts.places import PARTS, part_path
from firnline.digest import file_digest


class PartStore:
    """Parts in a folder.

    Args:
        folder: The folder; made when it is not there.
        disk: What writes.
        free_bytes: Bytes of the disk that stay free.
    """

    def __init__(self, folder: Path, disk: Disk, free_bytes: int = 0) -> None:
        self._folder, self._disk, self._free_bytes = folder, disk, free_bytes

    def path(self, digest: str) -> Path:
        """Where a part lies, or would.

        Raises:
            DeliveryError: U11, it is no sha256.
        """
        return self._folder / part_path(digest)

    def has(self, digest: str) -> bool:
        """Whether a part is there and still what it was; one that has rotted is removed.

        A link is as good as rotten: what it leads to may be somebody else's to change.
        """
        path = self.path(digest)
        try:
            if not path.is_symlink() and file_digest(path) == digest:
                return True
        except FileNotFoundError:
            return False
        except OSError:  # A cell of the flash that cannot be read any more.
            pass
        self._disk.remove(path)
        return False

    def fetch(self, digest: str, length: int, fetcher: Fetcher) -> Path:
        """A part from the channel, unless it is there.

        Args:
            digest: Its sha256, from a manifest that was verified.
            length: Its bytes, from there too.
            fetcher: The way to the channel.

        Raises:
            DeliveryError: U1 what came is not what was signed, U9, U10, U13 or U17 of the way,
                U20 the disk is full, U21 it cannot be written.
        """
        path = self.path(digest)
        if self.has(digest):
            return path
        partial = path.with_name(path.name + PARTIAL)
        with self._writing(partial):
            self._disk.folder(path.parent)
            resumed = self._resumable(partial, length)
            room(self._folder, length - resumed, self._free_bytes)
            found = self._download(digest, partial, length, fetcher)
            if found != digest and resumed:
                # Its start may be what a power cut left: only bytes that all came now tell.
                self._disk.remove(partial)
                found = self._download(digest, partial, length, fetcher)
            if found != digest:
                self._disk.remove(partial)
                raise arbitrary(f"its sha256 is {found}", f"{PARTS}/{part_path(digest)}")
            self._disk.move(partial, path)
        return path

    def sweep(self, keep: Collection[str]) -> int:
        """Remove parts, and what was fetched of them, that are none of these.

        Returns:
            Bytes that were freed.
        """
        freed = 0
        for path in sorted(self._folder.glob("*/*")):
            if path.name.removesuffix(PARTIAL) not in keep:
                freed += path.lstat().st_size
                self._disk.remove(path)
        return freed

    def _resumable(self, partial: Path, length: int) -> int:
        """Bytes that are there already; a link, or more than there may be, is dropped."""
        if partial.is_symlink():
            self._disk.remove(partial)
        found = partial.stat().st_size if partial.is_file() else 0
        if found <= length:
            return found
        self._disk.remove(partial)
        return 0

    def _download(self, digest: str, partial: Path, length: int, fetcher: Fetcher) -> str:
        """Complete a part, and give its sha256."""
        sha = hashlib.sha256()
        there = 0
        if partial.is_file():
            with partial.open("rb") as file:
                while chunk := file.read(CHUNK):
                    sha.update(chunk)
                    there += len(chunk)
        if there < length:
            for chunk in fetcher.part(part_path(digest), there, length):
                self._disk.append(partial, chunk, sync=False)
                sha.update(chunk)
        self._disk.append(partial, b"")
        return sha.hexdigest()

    @contextmanager
    def _writing(self, partial: Path) -> Iterator[None]:
        """A full disk gets back what was fetched, so that the device can go on."""
        try:
            yield
        except OSError as error:
            named = unwritable(error, partial)
            if named.code == "U20":
                self._disk.remove(partial)
            raise named from error
