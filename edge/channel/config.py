"""What a publisher's machine knows of a channel beyond its metadata: where keys are, and periods.

`channel.json` in the channel's folder. Who may sign what stands in the metadata alone, so there is
nothing here that could disagree with it, and nothing secret.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.disk import Disk
from firnline.contracts.places import KINDS, TRACKS
from firnline.errors import DeliveryError

FORMAT = "firnline-channel/1"
FILE = "channel.json"
PEOPLE, ONLINE = ("root", "targets"), ("snapshot", "timestamp")
"""Roles whose keys lie with people, and roles whose keys sign unattended."""
ROLES = (*PEOPLE, *TRACKS, *KINDS, *ONLINE)
DAYS: Mapping[str, int] = {
    "root": 365,
    "targets": 365,
    **dict.fromkeys(TRACKS, 90),
    **dict.fromkeys(KINDS, 180),
    "snapshot": 14,
    "timestamp": 7,
}
"""Days after which a role expires; a timestamp that is a week old is a freeze alarm."""

_MOST_ABOVE = 1 << 31


@dataclass(frozen=True)
class Config:
    """A channel as its publisher's machine knows it.

    Attributes:
        keys: Key id -> URI of its private half; keys that lie elsewhere are left out.
        days: Role -> days until what it signs expires; bins have those of their kind.
        above: What is assigned from now on has a higher version, and firmware a higher counter:
            the highest that devices may have seen of a channel that this one was rebuilt for.
        bits: Of a path's hash that choose its bin, where kinds are made.
    """

    keys: Mapping[str, str]
    days: Mapping[str, int] = field(default_factory=lambda: DAYS)
    above: int = 0
    bits: int = 5

    def period(self, role: str) -> int:
        """Days until what a role signs expires."""
        return self.days[role if role in self.days else role.partition("-")[0]]


def load(folder: Path) -> Config:
    """A channel's config.

    Raises:
        DeliveryError: V1, there is no channel; V12, its config cannot be read.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise ValueError(f"format {str(found['format'])[:40]!r}, not {FORMAT!r}")
        above, bits = floor(found.get("above", 0)), binary(found.get("bits", 5))
        return Config(_texts(found["keys"]), periods(found["days"]), above, bits)
    except FileNotFoundError as error:
        raise absent(FILE, folder) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DeliveryError(
            "V12",
            found=f"no readable config: {type(error).__name__}: {str(error)[:200]}",
            where=str(path),
            mend="restore it from its copy, or make it again with `firnline channel restore`",
        ) from error


def absent(file: str, folder: Path) -> DeliveryError:
    """The error for a folder that holds no channel: V1."""
    return DeliveryError(
        "V1",
        found=f"no {file}",
        where=str(folder),
        mend="make a channel with `firnline channel init`, or name its folder; one that was "
        "lost comes back with `firnline channel restore`, as devices take no new root",
    )


def save(folder: Path, config: Config, disk: Disk) -> None:
    """Write a channel's config whole."""
    document = {
        "format": FORMAT,
        "keys": dict(config.keys),
        "days": dict(config.days),
        "above": config.above,
        "bits": config.bits,
    }
    text = json.dumps(document, indent=2, sort_keys=True)
    disk.write(folder / FILE, f"{text}\n".encode())


def periods(given: Mapping[str, Any]) -> dict[str, int]:
    """Days of every role: what is given, and the usual ones for the rest.

    Raises:
        ValueError: A role is none, or its days are not 1 to 3,650.
    """
    for role, days in given.items():
        if role not in ROLES:
            raise ValueError(f"no role {role!r}; roles are {', '.join(ROLES)}")
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= 3650:
            raise ValueError(f"{role} expires in {days!r} days; give 1 to 3650")
    return {**DAYS, **given}


def floor(above: Any) -> int:
    """A version that devices may have seen.

    Raises:
        ValueError: It is none, or so high that firmware's 32 bits of a counter would run out.
    """
    if isinstance(above, bool) or not isinstance(above, int) or not 0 <= above < _MOST_ABOVE:
        raise ValueError(f"versions above {str(above)[:40]}; give 0 to {_MOST_ABOVE - 1}")
    return above


def binary(bits: Any) -> int:
    """Bits of a path's hash that choose its bin.

    Raises:
        ValueError: They are not 1 to 12.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 12:
        raise ValueError(f"{bits!r} bits of hash; give 1 to 12: 2 to 4,096 bins a kind")
    return bits


def malformed(found: object) -> DeliveryError:
    """V12: an option has a value that no channel can have; `found` says what could be."""
    return DeliveryError(
        "V12",
        found=str(found),
        where="the channel's options",
        mend="give what the message names",
    )


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("keys must map key ids to URIs")
    return dict(found)
