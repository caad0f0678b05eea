"""Releases in a channel: what a device bundle brings, and where its manifest is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Targets

from edge.channel.metadata import edited, target_file
from edge.channel.state import State
from firnline.contracts.places import KINDS, TRACKS, kind, manifest_path
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Pin

_DIGITS, _FEWEST = 64, 6


@dataclass(frozen=True)
class Delivery:
    """What a release brings for one target.

    Attributes:
        folder: The device bundle.
        manifest: Bytes of the device bundle's manifest.
        parts: sha256 -> file, all that the manifest names.
    """

    folder: Path
    manifest: bytes
    parts: Mapping[str, Path]

    @property
    def pin(self) -> Pin:
        """The manifest as a track pins it."""
        return Pin(bytes_digest(self.manifest), len(self.manifest))


def manifests(ensemble: str, release: str, deliveries: Mapping[str, Delivery]) -> dict[str, bytes]:
    """Target path -> manifest of every target of a release."""
    return {
        manifest_path(ensemble, target, release): delivery.manifest
        for target, delivery in deliveries.items()
    }


def named(state: State, targets: Mapping[str, bytes]) -> dict[str, Targets]:
    """Hash bins that change when they name targets; none where they name them already.

    Args:
        state: What is committed.
        targets: Target path -> content.
    """
    bins: dict[str, Targets] = {}
    for path, content in targets.items():
        role = state.bin_of(path)
        wanted = target_file(path, content)
        if role not in bins and state.role(role).signed.targets.get(path) == wanted:
            continue
        if role not in bins:
            bins[role] = edited(state.role(role))
        bins[role].targets[path] = wanted
    return bins


def pins(state: State, ensemble: str, release: str) -> dict[str, Pin]:
    """Target -> manifest of a release, as the roles of the kinds vouch for it.

    Args:
        state: What is committed.
        ensemble: Its name.
        release: Digest of the bundle.

    Raises:
        DeliveryError: V8, no target of the channel holds that release; V6, a manifest is missing;
            V13, a kind vouches for another manifest than a track has pinned.
    """
    found = {
        target: pin
        for (name, target, start), pin in published(state).items()
        if name == ensemble and release.startswith(start)
    }
    # Paths hold the first digits alone; a slip in the rest would be refused by every device.
    told = [
        state.content(manifest_path(ensemble, target, release), pin.sha256)
        for target, pin in found.items()
    ]
    if not found or any(_release(content) != release for content in told):
        raise DeliveryError(
            "V8",
            found=f"no release {release[:16]} of {ensemble}",
            where=str(state.public),
            mend="publish it first with `firnline channel publish`",
        )
    _hold_pinned(state, ensemble, release, found)
    return found


def published(state: State) -> dict[tuple[str, str, str], Pin]:
    """Ensemble, target and first 16 digits of a release -> its manifest, for all there are."""
    return {
        _parts(path): Pin(file.hashes["sha256"], file.length)
        for kind in KINDS
        for role in state.bins(kind)
        for path, file in state.stated(role).items()
        if path.endswith(".json")
    }


def full_name(state: State, ensemble: str, start: str) -> str:
    """A release's whole digest from its start, by the assignments that the channel keeps.

    Args:
        state: What is committed.
        ensemble: Its name.
        start: At least its first 6 digits.

    Raises:
        DeliveryError: V8, no assignment ever named such a release, or more than one.
    """
    if len(start) == _DIGITS:
        return start
    found = {
        release
        for track in TRACKS
        for _, assignment in state.history(track, ensemble)
        for release in assignment.pins
        if release.startswith(start)
    }
    if len(found) != 1 or len(start) < _FEWEST:
        raise DeliveryError(
            "V8",
            found=f"{len(found)} releases of {ensemble} that start with {start!r}",
            where=str(state.public),
            mend="give more digits; `firnline channel status` lists them",
        )
    return found.pop()


def _hold_pinned(state: State, ensemble: str, release: str, found: Mapping[str, Pin]) -> None:
    """A kind's key alone, stolen, must not choose what a track gives devices of a release."""
    for track in TRACKS:
        for _, assignment in state.history(track, ensemble):
            for target, pin in assignment.pins.get(release, {}).items():
                if found.get(target, pin) != pin:
                    raise DeliveryError(
                        "V13",
                        found=f"other contents than {track} has assigned, for {target}",
                        where=f"release {release[:16]} of {ensemble}",
                        mend=f"build a new release; see who signs for the role {kind(target)}",
                    )


def _release(manifest: bytes) -> object:
    """The release that a manifest names; None where it is no manifest."""
    try:
        return json.loads(manifest)["release"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _parts(path: str) -> tuple[str, str, str]:
    _, ensemble, target, name = path.split("/")
    return ensemble, target, name.removesuffix(".json")
