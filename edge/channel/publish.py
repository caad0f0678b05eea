"""Publishing: a proven bundle into the channel, and to a share of a track."""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.channel.assigned import commit_assignment, following, known_track, nothing
from edge.channel.commit import store
from edge.channel.release import Delivery, manifests, published
from edge.channel.repository import Repository
from edge.channel.state import State
from edge.device_bundle import make, targets_of
from edge.load import load
from edge.verify import MANIFEST, verify
from firnline.contracts.places import plain
from firnline.digest import tree_digest
from firnline.errors import DeliveryError, EvidenceError
from firnline.rollout.assignment import Pin

ACCEPT = "accept"


@dataclass(frozen=True)
class Published:
    """A release that stands in the channel.

    Attributes:
        ensemble: Its name.
        release: Digest of the bundle.
        track: Where it is assigned.
        share: Of that track's fleet.
        version: Of the assignment.
        targets: Target -> its manifest.
        unproved: Target -> why it was let by without an accepting proof.
        changed: Whether the assignment changed; publishing the same again changes nothing.
        parts: Files that were not in the channel before, or not whole.
        bytes: Of those.
    """

    ensemble: str
    release: str
    track: str
    share: float
    version: int
    targets: Mapping[str, Pin]
    unproved: Mapping[str, str]
    changed: bool
    parts: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def publish(
    repo: Repository,
    bundle: Path,
    *,
    track: str = "beta",
    share: float = 1.0,
    targets: Collection[str] | None = None,
    unproved: Mapping[str, str] | None = None,
    reason: str = "",
    lock: Mapping[str, str] | None = None,
    expected: str | None = None,
) -> Published:
    """Publish a bundle and assign it.

    Everything is checked and built before the channel is touched.

    Args:
        repo: The channel.
        bundle: A whole bundle.
        track: Where it is assigned.
        share: Of that track's fleet, in (0, 1].
        targets: Which of its targets; all unless told.
        unproved: Target -> why it goes by without an accepting proof; the assignment records it.
        reason: Why it is published, in one sentence.
        lock: Published feature reference -> digest, of the features lock.
        expected: Digest that the bundle must have, where it is known from elsewhere.

    Raises:
        HandshakeError: H0 to H8, its stages do not belong together.
        EvidenceError: V7, a proof did not accept.
        DeliveryError: D1 to D9, the bundle is not whole; V8, no such target or track; V10, V11;
            V13, the release stands there with other contents; V2 to V6.
    """
    known_track(track)
    manifest = load(bundle, "server", lock=lock, expected=expected).manifest
    ensemble, release = plain(manifest["name"]), tree_digest(bundle)
    waived = {} if unproved is None else unproved
    chosen, excused = proven(bundle, targets, waived)
    with tempfile.TemporaryDirectory(prefix="firnline-publish-") as folder:
        deliveries = {target: delivery(bundle, target, Path(folder) / target) for target in chosen}
        said = "; ".join(
            filter(None, [reason, *(f"{t} unproved: {w}" for t, w in excused.items())])
        )
        with repo.locked() as state:
            return put(repo, state, ensemble, release, deliveries, track, share, said, excused)


def proven(
    bundle: Path, targets: Collection[str] | None, unproved: Mapping[str, str]
) -> tuple[Sequence[str], dict[str, str]]:
    """Targets that may be published, and those of them that no proof accepts, with the reason.

    Args:
        bundle: A whole bundle.
        targets: Which are asked for; all unless told.
        unproved: Target -> why it may go by.

    Raises:
        EvidenceError: V7, a proof did not accept.
        DeliveryError: V8, the bundle has no such target, or none at all.
    """
    verdicts = targets_of(bundle)
    chosen = sorted(verdicts if targets is None else set(targets))
    unknown = sorted({*chosen, *unproved} - set(verdicts))
    if unknown or not chosen:
        raise nothing(
            f"no target {', '.join(unknown)}" if unknown else "no target at all",
            str(bundle),
            f"its targets are {', '.join(sorted(verdicts)) or 'none'}; add some to the manifest",
        )
    short = {target: verdicts[target] for target in chosen if verdicts[target] != ACCEPT}
    refused = [target for target in short if not unproved.get(target, "").strip()]
    if refused:
        raise EvidenceError(
            "V7",
            found=", ".join(f"{target}: {short[target]}" for target in refused),
            where=f"the proofs of {bundle}",
            mend="leave it out with `--proved`, or let it by with `--unproved TARGET=REASON`",
        )
    return chosen, {target: unproved[target].strip() for target in short}


def delivery(bundle: Path, target: str, folder: Path) -> Delivery:
    """Build and check the device bundle of a target.

    Raises:
        DeliveryError: D1 to D9, it cannot be built whole.
    """
    make(bundle, target, folder)
    return delivered(folder)


def delivered(folder: Path) -> Delivery:
    """What a device bundle brings, once every file of it is hashed.

    Raises:
        DeliveryError: D1 to D7, it is not whole.
    """
    files = verify(folder)["files"]
    parts = {digest: folder / name for name, digest in files.items()}
    return Delivery(folder, (folder / MANIFEST).read_bytes(), parts)


def put(
    repo: Repository,
    state: State,
    ensemble: str,
    release: str,
    deliveries: Mapping[str, Delivery],
    track: str,
    share: float,
    reason: str,
    unproved: Mapping[str, str] | None = None,
) -> Published:
    """Commit a release's deliveries and its assignment at once; the caller holds the lock.

    Where that assignment stands, files that went missing since are put back.

    Raises:
        DeliveryError: V10, V11, V13, or V2 to V4.
    """
    standing = {
        target: pin
        for (name, target, start), pin in published(state).items()
        if name == ensemble and release.startswith(start)
    }
    pins = {target: found.pin for target, found in deliveries.items()}
    other = [target for target, pin in pins.items() if standing.get(target, pin) != pin]
    if other:
        raise DeliveryError(
            "V13",
            found=f"other contents than were published, for {', '.join(sorted(other))}",
            where=f"release {release[:16]} of {ensemble}",
            mend="what is published never changes; build a new release",
        )
    before = state.assignment(track, ensemble)
    found, above = {**standing, **pins}, repo.config.above
    after = following(before, ensemble, track, release, found, share, reason, above=above)
    changed = after is not before
    if changed:
        written = commit_assignment(repo, state, after, deliveries)
    else:
        parts = {digest: file for new in deliveries.values() for digest, file in new.parts.items()}
        written = store(repo, parts, manifests(ensemble, release, deliveries))
    return Published(
        ensemble=ensemble,
        release=release,
        track=track,
        share=after.share_of(release),
        version=after.version,
        targets=pins,
        unproved=dict(unproved or {}),
        changed=changed,
        parts=written.parts,
        bytes=written.bytes,
    )
