"""Pulling for a chip that cannot pull for itself: a folder for the engineer who links the firmware.

A host verifies everything as a device would. What it leaves is the project that the chip's tools
build, its proof, and for a microcontroller the firmware manifest that its bootloader checks again,
with the C that does so.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from edge.agent.asking import ask
from edge.agent.clock import TrustedClock, utc_now
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.firmware import fetch, verifier
from edge.agent.handover import earlier, leave
from edge.agent.limits import check_manifest
from edge.agent.lock import exclusive
from edge.agent.recover import writing
from edge.agent.slots import Slots, slots_of
from edge.agent.trust import TRUST, Offer
from edge.agent.verified import Verified
from edge.disk import Disk
from edge.verify import parse_manifest
from firnline.contracts.firmware import KIND, NAME, Firmware, parse_all
from firnline.contracts.places import kind
from firnline.errors import DeliveryError

_PROJECT = "target"
_KEPT = ("proof.json", "LICENSE", "MODEL_CARD.md", "bom.cdx.json")
_WORK = "pulled"


@dataclass(frozen=True)
class Pulled:
    """A folder that was left.

    Attributes:
        folder: Where.
        ensemble: The ensemble.
        target: The target it is for.
        release: Digest of the release.
        changed: Whether anything had to be written.
        firmware: What its firmware manifest says; None where the chip has no bootloader of ours.
        keys: The mcu role's public keys, 64 hex digits each: what a bootloader trusts.
    """

    folder: Path
    ensemble: str
    target: str
    release: str
    changed: bool
    firmware: Firmware | None
    keys: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The pull as `--json` prints it."""
        return {**asdict(self), "folder": str(self.folder)}


def pull(
    config: Config,
    disk: Disk,
    fetcher: Fetcher,
    out: Path,
    system: Callable[[], datetime] = utc_now,
) -> Pulled:
    """Verify what the channel assigns to a target, and leave it as a folder, whole or not at all.

    Args:
        config: The channel, and the place of what the firmware goes to; `target` names the chip.
        disk: What changes files.
        fetcher: The connection to the channel.
        out: Folder to make. One that an earlier pull left is replaced, unless it was changed.
        system: The system's clock.

    Raises:
        DeliveryError: U1 to U21 and U25 as `edge.agent.update.update`; D1 to D9 the release is not
            whole; U40 the target is no chip to build for; U41 its firmware manifest is missing
            or malformed, U42 is another release's or not signed by the role's key; U43 something
            else is in the way.
        HandshakeError: H0 to H8, its stages do not belong together.
    """
    if kind(config.target) == "cpu":
        raise DeliveryError(
            "U40",
            found=f"target {config.target}, which runs an agent of its own",
            where="--out",
            mend="leave --out away; it is for targets named mcu-... and npu-...",
        )
    folder = out.parent.resolve() / out.name
    earlier(folder)
    slots = slots_of(config, disk)
    work = Slots(config.state / _WORK, disk, slots.store, slots.lock)
    with exclusive(config.state), writing(folder):
        offer, clock = _offer(config, fetcher, slots, system)
        try:
            files = _project(config, fetcher, work, offer)
        finally:
            disk.remove(work.folder)
        keys: list[str] = []
        if kind(config.target) == KIND:
            root = config.root.read_bytes()
            channel = Verified(config.state / TRUST, root, disk, fetcher, clock)
            files[NAME] = fetch(channel, offer, files.get("proof.json", b""))
            files |= verifier()
            keys = [key.hex() for key in channel.keys(KIND)]
        told: dict[str, Any] = {
            "ensemble": offer.ensemble,
            "target": offer.target,
            "release": offer.release,
            "manifest": offer.sha256,
            "keys": keys,
        }
        # Asked again: a person may have begun to work there meanwhile.
        changed = leave(folder, files, told, earlier(folder), disk)
    firmware = parse_all(files[NAME], NAME)[0] if NAME in files else None
    return Pulled(
        folder, offer.ensemble, offer.target, offer.release, changed, firmware, tuple(keys)
    )


def _offer(
    config: Config, fetcher: Fetcher, slots: Slots, system: Callable[[], datetime]
) -> tuple[Offer, TrustedClock]:
    """What is assigned, and what time it is at least; neither goes back from here on."""
    polled, state = ask(config, slots, fetcher, system)
    if polled.offer is None:
        raise DeliveryError(
            "U19",
            found=f"nothing assigned: no wave of {config.track}/{config.ensemble} has reached this "
            "device yet",
            where=config.url,
            mend="wait for the next wave, or pull as a device of the track canary",
        )
    return polled.offer, TrustedClock(state.clock_floor, system)


def _project(config: Config, fetcher: Fetcher, work: Slots, offer: Offer) -> dict[str, bytes]:
    """Path in the folder -> bytes, of a release that was fetched and passed every check."""
    document = parse_manifest(offer.manifest, f"manifest of {offer.ensemble} for {offer.target}")
    check_manifest(document, offer, config.limits)
    names = document["files"]
    for name, digest in names.items():
        work.store.fetch(digest, document["bytes"][name], fetcher)
    work.assemble(offer.manifest, names)
    work.check(work.next, offer.sha256)
    work.store.sweep(set(names.values()))
    inside = {name: PurePosixPath(name) for name in names}
    there = {
        str(path.relative_to(_PROJECT)): name
        for name, path in inside.items()
        if path.is_relative_to(_PROJECT)
    } | {name: name for name in _KEPT if name in names}
    return {name: (work.next / place).read_bytes() for name, place in there.items()}
