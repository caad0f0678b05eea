"""A recorded snapshot as DVC's cache holds it: proof of what it was, after it was replaced."""

import hashlib
import json
from pathlib import Path

from firnline.digest import manifest_digest
from firnline.errors import ContractError

_CHUNK_BYTES = 1 << 20


def cached_digest(dvc: str, project: Path) -> str | None:
    """sha256 of a recorded folder, computed from DVC's cache alone.

    DVC keeps a folder as a JSON list of files by MD5 and names the list by the MD5 of its bytes;
    every file is read once, for both of its digests.

    Args:
        dvc: The folder's digest as data.dvc names it, an MD5 that ends in `.dir`.
        project: The folder that holds `.dvc/`.

    Returns:
        As `firnline.digest.tree_digest` of the folder; None where the cache lacks a file of it.

    Raises:
        ContractError: W8, the cache holds other bytes than its names say.
    """
    cache = project / ".dvc" / "cache" / "files" / "md5"
    listing = _place(cache, dvc)
    if not listing.is_file():
        return None
    if _digests(listing)[0] != dvc.removesuffix(".dir"):
        raise _altered(listing)
    manifest: dict[str, str] = {}
    for entry in json.loads(listing.read_bytes()):
        file = _place(cache, str(entry["md5"]))
        if not file.is_file():
            return None
        md5, sha256 = _digests(file)
        if md5 != entry["md5"]:
            raise _altered(file)
        manifest[str(entry["relpath"])] = sha256
    return manifest_digest(manifest)


def _place(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _digests(file: Path) -> tuple[str, str]:
    """MD5 and sha256 of a file, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            md5.update(chunk)
            sha256.update(chunk)
    return md5.hexdigest(), sha256.hexdigest()


def _altered(file: Path) -> ContractError:
    return ContractError(
        "W8",
        found="a file of DVC's cache does not have the MD5 that names it",
        where=str(file),
        mend="fetch the recorded files again (dvc fetch --force), or from a backup",
    )
