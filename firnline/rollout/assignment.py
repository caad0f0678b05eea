"""An assignment: which release each device of a track gets, signed by the track's own role.

The director's half of Uptane (standard 2.1, section 5.2.2): it can only name what the role of the
artifact's kind has signed as well, by the same sha256, so neither key alone puts anything on a
device.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firnline.contracts.places import TRACKS, plain, sha256
from firnline.digest import bytes_digest, canonical_json
from firnline.errors import DeliveryError
from firnline.rollout.cohorts import place

FORMAT = "firnline-assignment/1"
_MOST_WAVES = 64


@dataclass(frozen=True)
class Pin:
    """A manifest as the track's role pins it.

    Attributes:
        sha256: Of the manifest's bytes.
        length: Its bytes.
    """

    sha256: str
    length: int


@dataclass(frozen=True)
class Wave:
    """Devices up to a share of the fleet, and what they get.

    Attributes:
        share: Devices whose place is below it, in (0, 1].
        release: Digest of the bundle.
    """

    share: float
    release: str


@dataclass(frozen=True)
class Assignment:
    """What a track gives to whom.

    Attributes:
        ensemble: Its name.
        track: `canary`, `beta` or `stable`.
        version: Higher with every change, a rollback too.
        salt: What draws the order of devices.
        waves: By share, ascending; a device gets the first whose share is above its place, and
            keeps what it holds where there is none.
        pins: Release -> target -> its manifest.
        reason: Why it is as it is, in one sentence.
        previous: sha256 of the assignment before it, so that the newest vouches for all that
            stood before; empty for the first.
    """

    ensemble: str
    track: str
    version: int
    salt: str
    waves: tuple[Wave, ...]
    pins: Mapping[str, Mapping[str, Pin]]
    reason: str = ""
    previous: str = ""

    def release_for(self, device: str) -> str | None:
        """Digest of the release that a device gets; None where no wave has reached it."""
        found = place(device, self.salt)
        return next((wave.release for wave in self.waves if found < wave.share), None)

    @property
    def newest(self) -> str | None:
        """The release of the first wave: the one that is being rolled out."""
        return self.waves[0].release if self.waves else None

    def share_of(self, release: str) -> float:
        """Share of the fleet that gets a release."""
        before, total = 0.0, 0.0
        for wave in self.waves:
            if wave.release == release:
                total += wave.share - before
            before = wave.share
        return total


def assign(
    before: Assignment | None,
    ensemble: str,
    track: str,
    release: str,
    pins: Mapping[str, Pin],
    share: float = 1.0,
    reason: str = "",
    above: int = 0,
) -> Assignment:
    """The next assignment: a release for a share of the fleet, what stood before for the rest.

    The order of devices stays while one release is widened, and is drawn anew for the next one. A
    rollback is the same rule with an old release: a higher version that names it.

    Args:
        before: What the track assigns now; None where it assigns nothing.
        ensemble: Its name.
        track: The track.
        release: Digest of the bundle.
        pins: Target -> its manifest.
        share: Of the fleet, in (0, 1].
        reason: Why, in one sentence.
        above: The version is above it, whatever stood before: devices may have seen it.

    Raises:
        DeliveryError: V10, the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise DeliveryError(
            "V10",
            found=f"a share of {share:g}",
            where=f"the wave of {ensemble} on {track}",
            mend="give a share of the fleet above 0 and at most 1, such as 0.1",
        )
    widened = before is not None and before.newest == release
    beyond: tuple[Wave, ...] = ()
    if before is not None:
        rest = before.waves[1:] if widened else before.waves
        # Who comes after the new wave keeps the one release that the widest wave before had.
        beyond = rest[-1:] if rest and share < rest[-1].share else ()
    waves = (Wave(share, release), *(wave for wave in beyond if wave.release != release))
    known = {**(before.pins if before else {}), release: dict(pins)}
    return Assignment(
        ensemble=plain(ensemble),
        track=plain(track),
        version=max(before.version if before else 0, above) + 1,
        salt=before.salt if before is not None and widened else sha256(release)[:16],
        waves=waves,
        pins={wave.release: known[wave.release] for wave in waves},
        reason=reason,
        previous=bytes_digest(render(before)) if before else "",
    )


def render(assignment: Assignment) -> bytes:
    """The assignment's bytes: canonical JSON and a newline."""
    document = {
        "format": FORMAT,
        "ensemble": assignment.ensemble,
        "track": assignment.track,
        "version": assignment.version,
        "salt": assignment.salt,
        "waves": [[wave.share, wave.release] for wave in assignment.waves],
        "pins": {
            release: {target: [pin.sha256, pin.length] for target, pin in pins.items()}
            for release, pins in assignment.pins.items()
        },
        "reason": assignment.reason,
        "previous": assignment.previous,
    }
    return f"{canonical_json(document)}\n".encode()


def parse(content: bytes, where: str) -> Assignment:
    """An assignment from its bytes; every field is checked, for it comes from outside.

    Args:
        content: As `render` made them.
        where: What they were read from, for the error.

    Raises:
        DeliveryError: U16 it is no assignment, U11 it holds an unsafe name.
    """
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise ValueError(f"format {str(found['format'])[:40]!r}, not {FORMAT!r}")
        waves = tuple(Wave(_share(share), sha256(release)) for share, release in found["waves"])
        shares = [wave.share for wave in waves]
        if len(waves) > _MOST_WAVES or shares != sorted(set(shares)):
            raise ValueError("waves are not ascending, or too many")
        pins = {
            sha256(release): {plain(target): _pin(*pin) for target, pin in pins.items()}
            for release, pins in found["pins"].items()
        }
        if not {wave.release for wave in waves} <= set(pins):
            raise ValueError("a wave names a release that is not pinned")
        if found["track"] not in TRACKS:
            raise ValueError(f"no track {str(found['track'])[:40]!r}")
        return Assignment(
            ensemble=plain(found["ensemble"]),
            track=found["track"],
            version=_whole(found["version"]),
            salt=_text(found["salt"]),
            waves=waves,
            pins=pins,
            reason=_text(found["reason"]),
            previous="" if found["previous"] == "" else sha256(found["previous"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DeliveryError(
            "U16",
            found=f"no readable assignment: {type(error).__name__}: {str(error)[:200]}",
            where=where,
            mend="publish it again with `firnline channel promote`; the device keeps what it runs",
        ) from error


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"share {str(value)[:40]} is not in (0, 1]")
    return float(value)


def _pin(digest: Any, length: Any) -> Pin:
    return Pin(sha256(digest), _whole(length))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 53:
        raise ValueError(f"{str(value)[:40]} is no whole number above 0")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise TypeError("text of at most 1,000 characters is needed")
    value.encode()  # JSON can hold half a character, which is no text and cannot be hashed.
    return value
