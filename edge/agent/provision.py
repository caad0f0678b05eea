"""A device's first configuration, and the root of trust that everything hangs on."""

import json
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.exceptions import Error as SecuresystemslibError
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root

from edge.agent.config import Config, Limits, parse
from edge.agent.connection import unreachable
from edge.agent.fetch import Fetcher
from edge.agent.table import wrong
from edge.disk import Disk
from firnline.digest import bytes_digest

ROOT = "root.json"
_FIRST = "metadata/1.root.json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """What tells one device from another.

    Attributes:
        url: Address of the channel.
        ensemble: The ensemble it runs.
        track: Its track.
        target: What it is.
        device: Its name; empty for one made of the machine's id.
        state: Folder of its state; None for the default.
        socket: Where it answers rows; None for nowhere.
    """

    url: str
    ensemble: str
    track: str
    target: str
    device: str = ""
    state: Path | None = None
    socket: Path | None = None


def provision(place: Place, root: bytes, path: Path, disk: Disk) -> Config:
    """Write a configuration and its root of trust; what is there already stays.

    The configuration is written last: when it was cut off before, it is run again.

    Args:
        place: What tells the device from another.
        root: The channel's root.json, which somebody vouches for.
        path: Of the configuration; root.json lies beside it.
        disk: Where to.

    Returns:
        The configuration as it will be read.

    Raises:
        DeliveryError: U30, a value cannot be used, or the device is configured already.
    """
    text = render(place)
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise wrong("a name or path that is no UTF-8", str(path), "give it another") from error
    config = parse(text, path)
    beside = path.parent / ROOT
    other = beside.exists() and beside.read_bytes() != root
    if other or path.exists():
        raise wrong(
            "a device that is configured already",
            str(beside if other else path),
            "change it by hand; remove both files only to trust another channel",
        )
    disk.write(beside, root)
    disk.write(path, content)
    return config


def render(place: Place) -> str:
    """The text of agent.toml."""
    lines = [
        f"{key} = {_text(value)}"
        for key, value in (
            ("url", place.url),
            ("ensemble", place.ensemble),
            ("track", place.track),
            ("target", place.target),
            ("device", place.device),
            ("root", ROOT),
            ("state", str(place.state.absolute()) if place.state else ""),
        )
        if value
    ]
    if place.socket is not None:
        lines += ["", "[scoring]", f"socket = {_text(str(place.socket.absolute()))}"]
    return "".join(f"{line}\n" for line in lines)


def _text(value: str) -> str:
    """A text as TOML: as JSON, where half a pair may not be escaped and DEL must (1.0.0)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def first_root(url: str, limits: Limits) -> bytes:
    """The first root.json as the channel itself gives it: worth nothing until it is vouched for.

    Raises:
        DeliveryError: U17 and others, the channel cannot be reached.
    """
    with Fetcher(url, limits) as fetcher:
        try:
            return fetcher.download_bytes(_FIRST, _MOST_BYTES)
        except DownloadHTTPError as error:
            # Whatever answers there, it is no channel, or one whose first root is kept apart.
            raise unreachable(f"it has no {_FIRST} ({error.status_code})", url) from error


def begins(root: bytes, where: str) -> bytes:
    """A root.json that a device can begin with: a root that enough of its own keys sign.

    Whose keys they are it cannot tell. What lies in the wrong file is found here, and not by the
    first poll of a device that somebody has left (TUF specification 1.0.34, section 5.3.5).

    Args:
        root: Its bytes.
        where: What it was read from, for the error.

    Raises:
        DeliveryError: U30, it is none.
    """
    try:
        found = Metadata[Root].from_bytes(root)
        if found.signed.type != Root.type:
            raise TypeError(f"it is the {found.signed.type}")
        found.signed.verify_delegate(Root.type, found.signed_bytes, found.signatures)
    except (RepositoryError, SecuresystemslibError, ValueError, AttributeError, TypeError) as error:
        raise wrong(
            f"no root.json of a channel: {str(error)[:200]}",
            where,
            "ask the channel's owner for the root.json that `firnline channel init` printed",
        ) from error
    return root


def vouched(root: bytes, sha256: str, where: str) -> bytes:
    """A root.json, held to the digest that its owner told by another way.

    Args:
        root: Its bytes.
        sha256: As the channel's owner told it; upper case and blanks do not matter.
        where: What it was read from, for the error.

    Raises:
        DeliveryError: U30, it is another one.
    """
    told = "".join(sha256.split()).lower()
    if bytes_digest(root) != told:
        raise wrong(
            f"a root.json with sha256 {bytes_digest(root)}, not {told[:80] or 'nothing'}",
            where,
            "ask the channel's owner for the digest that `firnline channel init` printed, and for "
            "root.json itself, by a way that you trust",
        )
    return root
