"""Artifact folders on disk: written under a temporary name, renamed when whole, checked on use."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.digest import canonical_json, tree_manifest
from firnline.errors import ContractError

_RECORD = "result.json"


@dataclass(frozen=True)
class ArtifactStore:
    """Folders named by ensemble, step and key; the key is the digest of all that went in.

    Attributes:
        root: Folder that holds them.
    """

    root: Path

    def folder(self, ensemble: str, step: str, key: str) -> Path:
        """Where the artifact of a key lies, or would lie."""
        return self.root / ensemble / step / key[:32]

    def whole(self, ensemble: str, step: str, key: str) -> dict[str, Any] | None:
        """The recorded document of an artifact whose every file is still what it was.

        Returns:
            The document, or None where there is no artifact or a file was lost or altered.
        """
        folder = self.folder(ensemble, step, key)
        try:
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        found = tree_manifest(folder)
        del found[_RECORD]
        document: dict[str, Any] = record["document"]
        return document if record["key"] == key and found == record["files"] else None

    def find(self, ensemble: str, step: str, **wanted: str) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole artifact of a step whose document says what is wanted.

        Args:
            ensemble: Whose.
            step: The step's name.
            wanted: Field of its document -> value.

        Returns:
            Its folder and its document; None where there is none.
        """
        records = (self.root / ensemble / step).glob(f"*/{_RECORD}")
        for path in sorted(records, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError):
                continue
            document: dict[str, Any] = record["document"]
            said = all(document.get(name) == value for name, value in wanted.items())
            if said and self.whole(ensemble, step, record["key"]) is not None:
                return path.parent, document
        return None

    def discard(self, ensemble: str, step: str, key: str) -> None:
        """Forget an artifact, so that it is made anew."""
        shutil.rmtree(self.folder(ensemble, step, key), ignore_errors=True)

    def build(
        self, ensemble: str, step: str, key: str, make: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """The document of an artifact, made by `make(folder)` unless it is there and whole.

        `make` fills an empty folder; the folder takes its final name only when `make` returned.
        A lock keeps two processes from making the same artifact at once; the second finds it.

        Raises:
            ContractError: C09, the disk is full; nothing half written stays.
        """
        folder = self.folder(ensemble, step, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            document = self.whole(ensemble, step, key)
            if document is not None:
                return document
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            partial.mkdir()
            try:
                document = make(partial)
                record = {"key": key, "files": tree_manifest(partial), "document": document}
                (partial / _RECORD).write_text(canonical_json(record), encoding="utf-8")
            except BaseException as error:
                shutil.rmtree(partial, ignore_errors=True)
                raise_if_full(error, partial)
                raise
            partial.rename(folder)
            return document


def raise_if_full(error: BaseException, where: Path) -> None:
    """Turn an operating-system 'no space' into the error that says so.

    Raises:
        ContractError: C09, when the error is one of these.
    """
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        raise ContractError(
            "C09",
            found=f"no room to write ({error.strerror})",
            where=str(where.parent),
            mend="free disk space, or point FIRNLINE_HOME at a larger disk; run again",
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
