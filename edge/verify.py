"""Whether a bundle is whole: every file hashed again and held to the manifest that names it.

Bundles come from outside, so nothing is believed: the manifest's text is checked before a field of
it is used, links and special files are refused before a byte is read, and sizes before contents.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from firnline.contracts.handshake import FEATURES_INPUT
from firnline.digest import bytes_digest, digest, file_digest, manifest_digest
from firnline.errors import DeliveryError

FORMAT = "firnline-bundle/4"
MANIFEST = "bundle.json"
MODEL = "int8.onnx"
WHOLE, DEVICE = "whole", "device"
KINDS = (WHOLE, DEVICE)
"""Kinds of bundle: all that a release is, or what one target of it needs."""

_MOST_MANIFEST_BYTES = 16 << 20
_FETCH = "fetch the bundle again, or build it again with `firnline run`"


def verify(bundle: Path, expected: str | None = None) -> dict[str, Any]:
    """Hash every file of a bundle again and hold it to its manifest.

    Args:
        bundle: The folder.
        expected: Digest that the bundle must have, where it is known from elsewhere. Without
            it, a bundle forged as a whole is not noticed; signatures are there for that.

    Returns:
        The manifest.

    Raises:
        DeliveryError: D1 no readable manifest, D2 files differ, D3 files are missing, D4 files
            are too many, D5 a path or a link leaves the folder, D6 the manifest was altered, D7
            an unknown format, D8 another bundle than expected.
    """
    sizes = plain_files(bundle)
    content = _manifest_bytes(bundle)
    document = parse_manifest(content, str(bundle))
    for code, problem, names in _differences(bundle, sizes, document):
        if names:
            raise _broken(code, str(bundle), f"{problem}: {', '.join(sorted(names))}")
    # Every file has the digest that the manifest names, so the tree need not be hashed again.
    made = manifest_digest({**document["files"], MANIFEST: bytes_digest(content)})
    if expected is not None and made != expected:
        raise _broken("D8", str(bundle), f"digest {made}, not {expected}")
    return document


def read_manifest(bundle: Path) -> dict[str, Any]:
    """What bundle.json holds, once it has the digest it names; no other file is opened.

    Raises:
        DeliveryError: D1, D5, D6 or D7.
    """
    plain_files(bundle)
    return parse_manifest(_manifest_bytes(bundle), str(bundle))


def parse_manifest(content: bytes, where: str) -> dict[str, Any]:
    """A manifest from its bytes: every check that needs no other file.

    Args:
        content: Of bundle.json.
        where: What it was read from, for the error.

    Raises:
        DeliveryError: D1 it is no manifest, D5 a name leaves the folder, D6 it does not have the
            digest it names, D7 an unknown format.
    """
    try:
        document = json.loads(content)
        given = document["format"]
        if given != FORMAT:
            raise _broken(
                "D7",
                where,
                f"format {str(given)[:40]!r}, not {FORMAT!r}",
                "build it again with `firnline run`, or read it with the firnline that made it",
            )
        named = document.pop("digest", None)
        sealed = digest(document)
        _shape(document)
    # A float that is no number, half a character, or a hundred thousand brackets.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = f"{type(error).__name__}: {str(error)[:200]}"
        raise _broken("D1", where, f"no readable {MANIFEST}: {told}") from error
    for name in document["files"]:
        safe(name)
    if named != sealed:
        raise _broken("D6", where, f"{MANIFEST} does not have the digest it names")
    return {**document, "digest": sealed}


def plain_files(bundle: Path) -> dict[str, int]:
    """Every file of a folder and its bytes; links and special files are refused unread.

    Raises:
        DeliveryError: D1 the folder cannot be read, D5 it holds what is no plain file or folder.
    """
    sizes: dict[str, int] = {}
    unlike: list[str] = []
    try:
        if bundle.is_symlink():
            raise _broken("D5", str(bundle), "the bundle is a link")
        for folder, folders, names in os.walk(bundle, onerror=_raise):
            for name in (*folders, *names):
                path = Path(folder, name)
                told = PurePosixPath(path.relative_to(bundle)).as_posix()
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    sizes[told] = found.st_size
                elif not stat.S_ISDIR(found.st_mode):
                    unlike.append(told)
    except OSError as error:
        raise _broken("D1", str(bundle), f"it cannot be read: {error.strerror}") from error
    if unlike:
        raise _broken("D5", str(bundle), f"not plain files: {', '.join(sorted(unlike))}")
    return sizes


def stage_file(name: str) -> str:
    """Where a stage's own float graph lies in a bundle.

    Raises:
        DeliveryError: D5, the name would leave the folder.
    """
    return str(safe(f"stages/{name}.onnx"))


def int8_file(name: str) -> str:
    """Where a stage's own int8 graph lies in a bundle.

    Raises:
        DeliveryError: D5, the name would leave the folder.
    """
    return str(safe(f"stages/{name}.int8.onnx"))


_MOST_NAME = 1024


def safe(name: str) -> PurePosixPath:
    """A name as a path inside a bundle.

    Raises:
        DeliveryError: D5, it leaves the bundle, is too long, or is not in its plain form.
    """
    path = PurePosixPath(name)
    odd = "\\" in name or not name.isprintable() or str(path) != name or name == "."
    # No file system takes more than 255 bytes between two slashes (POSIX, NAME_MAX).
    long = len(name) > _MOST_NAME or any(len(part.encode()) > 255 for part in path.parts)
    if path.is_absolute() or ".." in path.parts or odd or long:
        raise DeliveryError(
            "D5",
            found=f"the name {name[:200]!r} leaves the bundle, is too long or is not in its plain "
            "form",
            where="a bundle's files",
            mend="name files inside the bundle, such as int8.onnx",
        )
    return path


def _shape(document: Any) -> None:
    """What every reader of a manifest relies on.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: It is not so.
    """
    files, sizes = document["files"], document["bytes"]
    if document["kind"] not in KINDS:
        raise ValueError(f"kind {str(document['kind'])[:40]!r}")
    if not all(isinstance(value, str) for pair in files.items() for value in pair):
        raise TypeError("files must map names to digests")
    if files.keys() != sizes.keys():
        raise ValueError("bytes must name exactly the files")
    if any(type(size) is not int or size < 0 for size in sizes.values()):
        raise TypeError("bytes must be whole numbers")
    if not isinstance(document["name"], str) or not isinstance(document["stages"], list):
        raise TypeError("name must be text, and stages a list")
    if not all(isinstance(stage, dict) for stage in document["stages"]):
        raise TypeError("stages must be objects")
    if not all(isinstance(told["verdict"], str) for told in document.get("targets", {}).values()):
        raise TypeError("targets must have verdicts")
    made = {FEATURES_INPUT}
    for link in document.get("run", []):
        inputs, outputs = link["inputs"], link["outputs"]
        if not isinstance(link["stage"], str) or link["graph"] not in files:
            raise ValueError("run must name stages, and graphs among the files")
        if not all(isinstance(name, str) for name in (*inputs, *outputs)):
            raise TypeError("run must name inputs and outputs")
        if not made.issuperset(inputs):
            raise ValueError(f"{link['graph']} takes what nothing before it gives")
        made.update(outputs)


def _manifest_bytes(bundle: Path) -> bytes:
    try:
        with (bundle / MANIFEST).open("rb") as file:
            content = file.read(_MOST_MANIFEST_BYTES + 1)
    except OSError as error:
        raise _broken("D1", str(bundle), f"no readable {MANIFEST}: {error.strerror}") from error
    if len(content) > _MOST_MANIFEST_BYTES:
        told = f"no readable {MANIFEST}: more than {_MOST_MANIFEST_BYTES:,} bytes"
        raise _broken("D1", str(bundle), told)
    return content


def _differences(
    bundle: Path, sizes: Mapping[str, int], document: Mapping[str, Any]
) -> Iterator[tuple[str, str, set[str]]]:
    """Code, problem and names, the cheapest to find first: a caller stops at what it raises."""
    files, lengths = document["files"], document["bytes"]
    found = sizes.keys() - {MANIFEST}
    yield "D3", "missing", files.keys() - found
    yield "D4", "not in the manifest", found - files.keys()
    yield "D2", "not as long as named", {name for name in files if sizes[name] != lengths[name]}
    yield "D2", "differ from their digest", _altered(bundle, files)


def _altered(bundle: Path, files: Mapping[str, str]) -> set[str]:
    altered = set()
    for name, wanted in files.items():
        try:
            good = file_digest(bundle / name) == wanted
        except OSError:  # A worn flash that cannot be read is as good as altered.
            good = False
        if not good:
            altered.add(name)
    return altered


def _raise(error: OSError) -> None:
    raise error


def _broken(code: str, where: str, found: str, mend: str = _FETCH) -> DeliveryError:
    return DeliveryError(code, found=found, where=where, mend=mend)
