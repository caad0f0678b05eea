"""A folder handed over to a person: left whole or not at all, and never over their work."""

import json
import os
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from edge.disk import PARTIAL, Disk
from firnline.digest import bytes_digest, canonical_json, tree_manifest
from firnline.errors import DeliveryError

RECORD = "pulled.json"
"""What was left, with the sha256 of every file: by it the next pull knows its own."""


def earlier(out: Path) -> str | None:
    """sha256 of the record of what an earlier pull left there; None where nothing is.

    Args:
        out: The folder.

    Raises:
        DeliveryError: U43, something is there that no pull left so.
    """
    if not out.is_symlink() and not out.exists():
        return None
    try:
        if out.is_symlink() or not out.is_dir():
            raise ValueError("no folder")
        record = (out / RECORD).read_bytes()
        found = {name: value for name, value in tree_manifest(out).items() if name != RECORD}
        linked = any(path.is_symlink() for path in out.rglob("*"))
        if linked or found != json.loads(record)["files"]:
            raise ValueError("files were changed since it was pulled")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DeliveryError(
            "U43",
            found=f"something is there that no pull left so: {str(error)[:200]}",
            where=str(out),
            mend="name another folder, or move that one away; nobody's work is overwritten",
        ) from error
    return bytes_digest(record)


def leave(
    out: Path, files: Mapping[str, bytes], told: Mapping[str, Any], before: str | None, disk: Disk
) -> bool:
    """Write a folder beside its place, and move it in.

    A power cut leaves the folder before, the new one, or none; the next pull makes it good.

    Args:
        out: The folder.
        files: Path within it -> bytes.
        told: What the record says beside the files.
        before: As `earlier` gave it.
        disk: What changes files.

    Returns:
        False where it lies there already.
    """
    digests = {name: bytes_digest(content) for name, content in files.items()}
    record = f"{canonical_json({**told, 'files': digests})}\n".encode()
    if before == bytes_digest(record):
        return False
    ends = (f".new{PARTIAL}", f".old{PARTIAL}")
    for left in (path for end in ends for path in out.parent.glob(f".{escape(out.name)}.*{end}")):
        disk.remove(left)
    new, old = (out.with_name(f".{out.name}.{os.getpid()}{end}") for end in ends)
    try:
        for name, content in {**files, RECORD: record}.items():
            disk.write(new / name, content)
    except BaseException:
        disk.remove(new)
        raise
    if before is not None:
        disk.move(out, old)
    disk.move(new, out)
    disk.remove(old)
    return True
