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


@dataclass(frozen=True)
class Config:
    """A channel as its publisher's machine knows it.

    Attributes:
        keys: Key id -> URI of its private half; keys that lie elsewhere are left out.
        days: Role -> days until what it signs expires; bins have those of their kind.
    """

    keys: Mapping[str, str]
    days: Mapping[str, int] = field(default_factory=lambda: DAYS)

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
        return Config(_texts(found["keys"]), periods(found["days"]))
    except FileNotFoundError as error:
        raise DeliveryError(
            "V1",
            found=f"no {FILE}",
            where=str(folder),
            mend="make a channel with `firnline channel init`, or name its folder",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeliveryError(
            "V12",
            found=f"no readable config: {type(error).__name__}: {str(error)[:200]}",
            where=str(path),
            mend="restore it from its copy, or make it again with `firnline channel restore`",
        ) from error


def save(folder: Path, config: Config, disk: Disk) -> None:
    """Write a channel's config whole."""
    document = {"format": FORMAT, "keys": dict(config.keys), "days": dict(config.days)}
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


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("keys must map key ids to URIs")
    return dict(found)
