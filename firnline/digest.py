"""Canonical JSON -> sha256: the one way a thing gets an identity."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that stands for a value.

    Keys are sorted, separators carry no blanks, text stays Unicode; NaN and infinity have
    no JSON form and are refused (the number rules of RFC 8259, section 6).

    Args:
        value: Anything built of dicts with text keys, lists, tuples, text, numbers, bools, None.

    Raises:
        ValueError: A float is NaN or infinite.
        TypeError: A value has no JSON form.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def bytes_digest(content: bytes) -> str:
    """sha256 (64 hex digits) of bytes."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (64 hex digits) of a file's bytes, read a mebibyte at a time."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def tree_manifest(root: Path) -> dict[str, str]:
    """Relative POSIX path -> sha256 for every file under a folder, or for the one file."""
    if root.is_file():
        return {root.name: file_digest(root)}
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(PurePosixPath(path.relative_to(root))): file_digest(path) for path in files}


def tree_digest(root: Path) -> str:
    """sha256 of a folder: the digest of its manifest, so names count as well as bytes."""
    return manifest_digest(tree_manifest(root))


def manifest_digest(manifest: Mapping[str, str]) -> str:
    """sha256 of a manifest as `tree_manifest` makes it."""
    return digest(dict(manifest))


def short(value: str) -> str:
    """The six digits a person reads; never used as a key."""
    return value[:6]
