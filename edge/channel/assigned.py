"""What a track assigns next: one rollout at a time, wider and never narrower, back at any time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import Targets

from edge.channel.commit import Change, Written, commit
from edge.channel.counters import firmware
from edge.channel.metadata import edited, target_file
from edge.channel.release import Delivery, manifests, named
from edge.channel.repository import Repository
from edge.channel.state import State
from firnline.contracts.places import TRACKS, assignment_path
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Assignment, Pin, assign, render

_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Assigned:
    """What a track assigns now.

    Attributes:
        ensemble: Its name.
        track: The track.
        release: Digest of the bundle that is rolled out.
        share: Of the fleet that gets it.
        version: Of the assignment.
        before: What was rolled out before; None where nothing was.
        changed: Whether anything changed.
    """

    ensemble: str
    track: str
    release: str
    share: float
    version: int
    before: str | None
    changed: bool

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def known_track(track: str) -> str:
    """A track of the channel.

    Raises:
        DeliveryError: V8, there is none of that name.
    """
    if track not in TRACKS:
        raise nothing(f"no track {track!r}", "the channel", f"tracks are {', '.join(TRACKS)}")
    return track


def following(
    before: Assignment | None,
    ensemble: str,
    track: str,
    release: str,
    pins: Mapping[str, Pin],
    share: float,
    reason: str,
    *,
    back: bool = False,
    above: int = 0,
) -> Assignment:
    """The next assignment of a track, or the one that stands where it assigns just that.

    Args:
        before: What it assigns now.
        ensemble: Its name.
        track: The track.
        release: Digest of the bundle.
        pins: Target -> its manifest.
        share: Of the fleet, in (0, 1].
        reason: Why, in one sentence.
        back: A rollback: it may end a rollout that is not finished.
        above: Its version is above it; one that stands and is not is said again.

    Raises:
        DeliveryError: V10, the share is none or narrower; V11, another rollout is unfinished; V12,
            the reason is too long or no text.
    """
    if len(reason) > _LONGEST_REASON or not _is_text(reason):
        raise DeliveryError(
            "V12",
            found=f"a reason of {len(reason)} characters, or with some that are no UTF-8",
            where=f"the assignment of {ensemble} on {track}",
            mend=f"say it in {_LONGEST_REASON} characters of UTF-8",
        )
    found = assign(before, ensemble, track, release, pins, share, reason, above)
    if before is None or back:
        return found
    if before.newest != release:
        _hold_finished(before)
        return found
    if share < before.waves[0].share:
        raise DeliveryError(
            "V10",
            found=f"a share of {share:g}, and {before.waves[0].share:g} have it already",
            where=f"{release[:12]} of {ensemble} on {track}",
            mend="give a wider share; to take it back, `firnline channel rollback`",
        )
    same = (found.waves, found.pins) == (before.waves, before.pins)
    return before if same and before.version > above else found


def commit_assignment(
    repo: Repository,
    state: State,
    assignment: Assignment,
    deliveries: Mapping[str, Delivery] | None = None,
) -> Written:
    """Commit an assignment, with what it brings, at once; the caller holds the lock.

    Args:
        repo: The channel.
        state: What is committed.
        assignment: The next one.
        deliveries: Target -> what the release brings that is not in the channel yet.

    Raises:
        DeliveryError: V2 to V4, keys are missing; U41 to U44, firmware cannot be signed.
    """
    ensemble, release, new = assignment.ensemble, assignment.newest or "", deliveries or {}
    folders: dict[str, Path | None] = {target: None for target in assignment.pins.get(release, {})}
    folders |= {target: delivery.folder for target, delivery in new.items()}
    brought = {
        **manifests(ensemble, release, new),
        **firmware(repo, state, ensemble, release, folders),
    }
    path, content = assignment_path(ensemble, assignment.track), render(assignment)
    role: Targets = edited(state.role(assignment.track))
    role.targets[path] = target_file(path, content)
    change = Change(
        parts={digest: file for found in new.values() for digest, file in found.parts.items()},
        targets={**brought, path: content},
        roles={**named(state, brought), assignment.track: role},
    )
    return commit(repo, state, change)


def outcome(before: Assignment | None, now: Assignment) -> Assigned:
    """What a track assigns, for the one who asked."""
    release = now.newest or ""
    return Assigned(
        ensemble=now.ensemble,
        track=now.track,
        release=release,
        share=now.share_of(release),
        version=now.version,
        before=before.newest if before else None,
        changed=now is not before,
    )


def nothing(found: str, where: str, mend: str) -> DeliveryError:
    """V8: no such release, target or track."""
    return DeliveryError("V8", found=found, where=where, mend=mend)


def _is_text(reason: str) -> bool:
    """Whether it can be written; a shell hands over bytes that are none as half surrogates."""
    try:
        reason.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hold_finished(before: Assignment) -> None:
    first = before.waves[0] if before.waves else None
    if first is not None and first.share < 1:
        raise DeliveryError(
            "V11",
            found=f"{first.release[:12]} has reached {first.share:.0%} of the fleet",
            where=f"the rollout of {before.ensemble} on {before.track}",
            mend="widen it to all with `firnline channel promote`, or roll it back first",
        )
