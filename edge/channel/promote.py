"""Promoting: a release on to another track, or to more of the fleet."""

from edge.channel.assigned import (
    Assigned,
    commit_assignment,
    following,
    known_track,
    nothing,
    outcome,
)
from edge.channel.release import full_name, pins
from edge.channel.repository import Repository
from edge.channel.state import State
from firnline.contracts.places import TRACKS
from firnline.rollout.assignment import Assignment


def promote(
    repo: Repository,
    ensemble: str,
    to: str,
    share: float = 1.0,
    *,
    release: str | None = None,
    source: str | None = None,
    reason: str = "",
) -> Assigned:
    """Assign a published release to a track.

    Args:
        repo: The channel.
        ensemble: Its name.
        to: The track.
        share: Of that track's fleet, in (0, 1].
        release: Digest or its start; what `source` rolls out unless told.
        source: Track to take it from. Unless told, a rollout on `to` that is not finished goes on;
            else it is the track before `to`.
        reason: Why, in one sentence; that of the track it comes from unless told.

    Raises:
        DeliveryError: V8, no such release or track; V10, the share; V11, another rollout on `to`
            is unfinished; V2 to V6.
    """
    known_track(to)
    with repo.locked() as state:
        before = state.assignment(to, ensemble)
        origin = _origin(state, before, ensemble, to, source)
        chosen = full_name(state, ensemble, release) if release else origin and origin.newest
        if not chosen:
            raise nothing(
                f"no release of {ensemble}",
                f"the track {source or (origin.track if origin else _earlier(to))}",
                "publish one with `firnline channel publish`, or name the track it is on",
            )
        said = reason or (origin.reason if origin and origin.newest == chosen else "")
        found = pins(state, ensemble, chosen)
        above = repo.config.above
        after = following(before, ensemble, to, chosen, found, share, said, above=above)
        if after is not before:
            commit_assignment(repo, state, after)
        return outcome(before, after)


def _origin(
    state: State, before: Assignment | None, ensemble: str, to: str, source: str | None
) -> Assignment | None:
    """The assignment whose newest release is meant."""
    if source is not None:
        return state.assignment(known_track(source), ensemble)
    if before is not None and before.waves and before.waves[0].share < 1:
        return before
    return state.assignment(_earlier(to), ensemble)


def _earlier(track: str) -> str:
    """The track before; the first has none but itself."""
    return TRACKS[max(TRACKS.index(track) - 1, 0)]
