"""Where things lie in a channel: the same names for who publishes and for who pulls.

A channel is three folders of plain files under one address:

| path | holds |
|---|---|
| `metadata/` | TUF metadata, consistent snapshots |
| `targets/` | TUF targets: manifests of releases, and assignments |
| `parts/<2 digits>/<sha256>` | files of releases, by content; a manifest binds them |
"""

import re

from firnline.errors import DeliveryError

METADATA, TARGETS, PARTS = "metadata", "targets", "parts"
TRACKS = ("canary", "beta", "stable")
"""The tracks, from the first to see a release to the last; each is a TUF role of its own."""
KINDS = ("cpu", "mcu", "npu")
"""Kinds of artifact; each is a TUF role of its own with hash bins under it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OF_RELEASE = re.compile(r"[0-9a-f]{16}\.(json|bin)")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def kind(target: str) -> str:
    """Kind of artifact of a target: its name up to the first dash, as in `mcu-cortex-m4`.

    What is no microcontroller and no neural processor is built for a general one.
    """
    found = target.partition("-")[0]
    return found if found in KINDS else "cpu"


def manifest_path(ensemble: str, target: str, release: str) -> str:
    """TUF target path of a release's manifest for one target.

    Args:
        ensemble: Its name.
        target: The target's name.
        release: Digest of the whole bundle.

    Raises:
        DeliveryError: U11, a name would leave its folder.
    """
    return f"{kind(target)}/{plain(ensemble)}/{plain(target)}/{sha256(release)[:16]}.json"


def assignment_path(ensemble: str, track: str) -> str:
    """TUF target path of what a track assigns.

    Raises:
        DeliveryError: U11, a name would leave its folder.
    """
    return f"{plain(track)}/{plain(ensemble)}.json"


def part_path(digest: str) -> str:
    """Where a part lies under `parts/`.

    Raises:
        DeliveryError: U11, it is no sha256.
    """
    return f"{sha256(digest)[:2]}/{digest}"


def well_placed(path: str) -> bool:
    """Whether a TUF target's path is one that this module makes, or a release's firmware."""
    top, *names = path.split("/")
    if top in TRACKS:
        return len(names) == 1 and names[0].endswith(".json") and _is_plain(names[0][:-5])
    if top not in KINDS or len(names) != 3 or not all(map(_is_plain, names)):
        return False
    return kind(names[1]) == top and _OF_RELEASE.fullmatch(names[2]) is not None


def version_of(name: str) -> int:
    """Version that a metadata file's name begins with, as in `12.cpu-1f.json`; 0 where none is."""
    number, dot, _ = name.partition(".")
    return int(number) if dot and _NUMBER.fullmatch(number) else 0


def plain(name: object) -> str:
    """A name that is one plain path segment.

    Raises:
        DeliveryError: U11, it is not.
    """
    if not isinstance(name, str) or not _is_plain(name):
        raise _unsafe(
            name, "letters, digits, `_`, `.` and `-`, at most 64, first a letter or digit"
        )
    return name


def sha256(value: object) -> str:
    """A sha256 as 64 lower-case hex digits.

    Raises:
        DeliveryError: U11, it is not.
    """
    if not isinstance(value, str) or not is_sha256(value):
        raise _unsafe(value, "64 lower-case hex digits")
    return value


def is_sha256(value: str) -> bool:
    """Whether a text is a sha256 as 64 lower-case hex digits."""
    return _DIGEST.fullmatch(value) is not None


def _is_plain(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _unsafe(found: object, wanted: str) -> DeliveryError:
    return DeliveryError(
        "U11",
        found=f"path traversal or a malformed name: {str(found)[:80]!r}",
        where="names in a channel",
        mend=f"a name here is {wanted}",
    )
