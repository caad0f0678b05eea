"""What a device is to run, as far as its channel can be trusted.

Two roles must agree: that of the device's track, which assigns a release, and that of the kind of
its artifact, which signs the release's manifest. Whoever holds one key alone puts nothing on a
device.
"""

from dataclasses import dataclass, field
from datetime import datetime

from edge.agent.clock import Clock
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.limits import MOST_DOCUMENT_BYTES
from edge.agent.space import unwritable
from edge.agent.verified import Verified, digest_of
from edge.disk import Disk
from firnline.contracts.places import assignment_path, kind, manifest_path
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Assignment, parse

TRUST = "trust"
"""Folder of trusted metadata in the agent's state."""


@dataclass(frozen=True)
class Offer:
    """A release that a device is to run.

    Attributes:
        release: Digest of the bundle.
        ensemble: Its name.
        target: The device's target.
        manifest: Bytes of the device bundle's bundle.json, verified; not parsed yet.
        sha256: Of the manifest.
        assignment: What names it.
    """

    release: str
    ensemble: str
    target: str
    manifest: bytes = field(repr=False)
    sha256: str
    assignment: Assignment = field(repr=False)


@dataclass(frozen=True)
class Polled:
    """What a poll found, all of it verified.

    Attributes:
        offer: What the device is to run, unchanged channel or not; None while no wave has reached
            it: it keeps what it holds.
        version: Of the assignment; a lower one is not accepted again under the same keys.
        keys: Digest of the keys of the track's role that the version was signed under.
        unchanged: Whether the channel's timestamp is the one of the poll before.
        issued: Signed time of the channel; it cannot be earlier than that.
        expires: Role -> end of its validity.
    """

    offer: Offer | None
    version: int
    keys: str
    unchanged: bool
    issued: datetime | None
    expires: dict[str, datetime]


def poll(
    config: Config,
    disk: Disk,
    fetcher: Fetcher,
    clock: Clock,
    floor_version: int = 0,
    floor_keys: str = "",
) -> Polled:
    """Ask the channel what this device is to run.

    A thief of the track's key may sign the highest version there is. So the floor falls with the
    keys it was seen under, as in the TUF specification 1.0.34, section 5.3.11: new ones are a
    decision of the keys that lie apart.

    Args:
        config: The channel and the device's place in it.
        disk: What writes.
        fetcher: The way to the channel; the same for every poll.
        clock: What time it is, with the latest signed time that was seen.
        floor_version: Version of the assignment that the poll before found.
        floor_keys: Its keys, as that poll told; empty where it is not known.

    Raises:
        DeliveryError: U1 to U13 by the attack, U15 the two roles disagree, U16 a document is
            malformed, U17 the channel cannot be reached, U18 a clock cannot be right, U19
            nothing is assigned, U20 and U21 the disk.
    """
    try:
        channel = Verified(config.state / TRUST, _root(config), disk, fetcher, clock)
        keys = channel.owners(config.track)
        floor = floor_version if floor_keys in {"", keys} else 0
        assignment, assigned = _assignment(channel, config, floor)
        release = assignment.release_for(config.device)
        offer = _offer(channel, config, assignment, release) if release else None
        channel.keep(assigned, *([offer.sha256] if offer else []))
    except OSError as error:
        fetcher.forget()
        raise unwritable(error, config.state / TRUST) from error
    except BaseException:
        fetcher.forget()
        raise
    return Polled(
        offer=offer,
        version=assignment.version,
        keys=keys,
        unchanged=channel.unchanged,
        issued=channel.issued,
        expires=channel.expires(config.track, kind(config.target)),
    )


def _root(config: Config) -> bytes:
    try:
        return config.root.read_bytes()
    except OSError as error:
        raise DeliveryError(
            "U30",
            found=f"no root of trust that can be read: {error.strerror}",
            where=str(config.root),
            mend="lay the channel's root.json there; compare its sha256 with the publisher's",
        ) from error


def _assignment(channel: Verified, config: Config, floor: int) -> tuple[Assignment, str]:
    """What the track assigns, and the sha256 of its document."""
    path = assignment_path(config.ensemble, config.track)
    target = channel.target(path)
    if target is None:
        raise _nothing(f"{config.track} assigns nothing to {config.ensemble}", path)
    found = parse(channel.document(path, target, MOST_DOCUMENT_BYTES), path)
    if (found.ensemble, found.track) != (config.ensemble, config.track):
        raise DeliveryError(
            "U12",
            found=f"extraneous dependency: an assignment of {found.ensemble} on {found.track}",
            where=path,
            mend="publish it again; the device keeps what it runs",
        )
    if found.version < floor:
        raise DeliveryError(
            "U6",
            found=f"rollback: assignment version {found.version}, after version {floor} was seen",
            where=path,
            mend="see whether a key of the track is stolen; an old release is named again by a "
            "higher version, with `firnline channel rollback`",
        )
    return found, digest_of(target, path)


def _offer(channel: Verified, config: Config, assignment: Assignment, release: str) -> Offer:
    """The release's manifest, when both roles mean the same one."""
    pin = assignment.pins[release].get(config.target)
    if pin is None:
        has = ", ".join(sorted(assignment.pins[release])) or "none"
        raise _nothing(
            f"release {release[:12]} has no {config.target}, only {has}",
            assignment_path(config.ensemble, config.track),
        )
    path = manifest_path(config.ensemble, config.target, release)
    target = channel.target(path)
    signed = "nothing" if target is None else f"{digest_of(target, path)}, {target.length:,} bytes"
    if target is None or signed != f"{pin.sha256}, {pin.length:,} bytes":
        raise DeliveryError(
            "U15",
            found=f"arbitrary software: {config.track} assigns the manifest {pin.sha256}, "
            f"{pin.length:,} bytes, and {kind(config.target)} signs {signed}",
            where=path,
            mend="see whether a key of either role is stolen, then publish the release again",
        )
    return Offer(
        release=release,
        ensemble=config.ensemble,
        target=config.target,
        manifest=channel.document(path, target, MOST_DOCUMENT_BYTES),
        sha256=pin.sha256,
        assignment=assignment,
    )


def _nothing(found: str, where: str) -> DeliveryError:
    return DeliveryError(
        "U19",
        found=f"nothing assigned: {found}",
        where=where,
        mend="publish for it with `firnline channel publish`, or correct ensemble, track and "
        "target in the agent's configuration",
    )
